"""Masking: tokens to Mask. Every masking takes an explicit generator, so masks can be replayed."""

from mae3d.models.masking.block import BlockMasking
from mae3d.models.masking.blocks import MultiBlockMasking, draw_copies
from mae3d.models.masking.grid import BlockwiseMasking, SharedMasking
from mae3d.models.masking.occupancy import OccupancyMasking
from mae3d.models.masking.packed import PackedMasking
from mae3d.models.masking.radial import RadialMasking
from mae3d.models.masking.ragged import RaggedMasking
from mae3d.models.masking.random import RandomMasking
from mae3d.models.masking.time_frequency import TimeFrequencyMasking
from mae3d.models.masking.voxels import VoxelMasking
from mae3d.models.masking.words import EnhancedMasking

__all__ = [
    "BlockMasking",
    "BlockwiseMasking",
    "EnhancedMasking",
    "MultiBlockMasking",
    "OccupancyMasking",
    "PackedMasking",
    "RadialMasking",
    "RaggedMasking",
    "RandomMasking",
    "SharedMasking",
    "TimeFrequencyMasking",
    "VoxelMasking",
    "draw_copies",
]
