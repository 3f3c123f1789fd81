"""Operators: the Python face of ``csrc/``. One module per operator."""
