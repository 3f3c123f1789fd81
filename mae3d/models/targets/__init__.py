"""Targets: what must be predicted at masked tokens."""

from mae3d.models.targets.ema_teacher import EmaTeacher
from mae3d.models.targets.layer_average import LayerAverage
from mae3d.models.targets.occupancy import dense_occupancy
from mae3d.models.targets.pixels import FrameTarget, PixelTarget
from mae3d.models.targets.point_codes import PointCodeTarget
from mae3d.models.targets.point_patches import PointPatchTarget
from mae3d.models.targets.spectrogram import SpectrogramTarget
from mae3d.models.targets.surface import SurfaceTarget
from mae3d.models.targets.voxels import VoxelPointTarget

__all__ = [
    "EmaTeacher",
    "FrameTarget",
    "LayerAverage",
    "PixelTarget",
    "PointCodeTarget",
    "PointPatchTarget",
    "SpectrogramTarget",
    "SurfaceTarget",
    "VoxelPointTarget",
    "dense_occupancy",
]
