"""The pages of MARInpaint."""
