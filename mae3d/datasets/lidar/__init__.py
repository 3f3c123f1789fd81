"""Driving data sets: sweeps, boxes and poses from the official files."""
