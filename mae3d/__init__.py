"""mae3d: masked pre-training for 3D perception."""

__version__ = "0.1.0"
