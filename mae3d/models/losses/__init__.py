"""Losses."""

from mae3d.models.losses.chamfer import ChamferLoss

__all__ = ["ChamferLoss"]
