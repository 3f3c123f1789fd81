"""Targets: what must be predicted at masked tokens."""

from mae3d.models.targets.occupancy import dense_occupancy
from mae3d.models.targets.pixels import FrameTarget, PixelTarget
from mae3d.models.targets.point_patches import PointPatchTarget
from mae3d.models.targets.voxels import VoxelPointTarget

__all__ = ["FrameTarget", "PixelTarget", "PointPatchTarget", "VoxelPointTarget", "dense_occupancy"]
