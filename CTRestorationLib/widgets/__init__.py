"""Panels and adapters made of Qt."""
