"""Weights: safetensors files with a card and a digest; shipped ones lie in this folder, trained ones in their runs."""
