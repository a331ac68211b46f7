"""Reconstruction from low-dose data."""
