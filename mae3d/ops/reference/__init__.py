"""Pure-torch references of the operators: oracles of the tests and fallbacks without compiled kernels."""
