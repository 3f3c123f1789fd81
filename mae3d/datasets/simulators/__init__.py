"""Simulated data in the official on-disk layouts, so that everything runs without a download."""
