"""Losses that plug into any restoration network."""
