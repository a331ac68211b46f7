"""What networks are trained on: patients and their scans, simulated by seed, and data sets of them on disk."""
