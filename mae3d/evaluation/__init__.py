"""Metrics: each a class with ``process`` and ``compute``, checked against the official evaluator."""
