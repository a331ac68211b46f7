"""What the scanner makes of metal or of a lower dose: a Volume in, an Acquisition out."""
