"""Bridges to other codebases; each sits behind an extra of its own and is imported by name alone."""
