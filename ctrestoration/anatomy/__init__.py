"""Anatomy: a phantom whose truth is known, and segmentation of metal and spine."""
