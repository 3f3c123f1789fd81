"""Targets: what must be predicted at masked tokens."""

from mae3d.models.targets.point_patches import PointPatchTarget

__all__ = ["PointPatchTarget"]
