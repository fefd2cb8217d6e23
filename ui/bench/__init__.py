"""Measures the product: how fast it is, and what it finds."""
