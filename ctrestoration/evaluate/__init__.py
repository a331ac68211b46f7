"""Measuring images: metrics with their window and mask, and the report that shows them."""
