"""Tokenizers: samples to tokens."""

from mae3d.models.tokenizers.grid_patches import GridPatches, GridPatchTokenizer
from mae3d.models.tokenizers.hard_voxels import HardVoxelTokenizer
from mae3d.models.tokenizers.patches import PatchTokenizer, grid_coordinates, patchify, unpatchify
from mae3d.models.tokenizers.pillar_mlp import PillarMlp
from mae3d.models.tokenizers.point_patches import MiniPointNet, PointPatches, PointPatchTokenizer, cut_patches
from mae3d.models.tokenizers.roberta import RobertaEmbedding
from mae3d.models.tokenizers.token_ids import TokenEmbedding
from mae3d.models.tokenizers.voxel_patches import VoxelPatchTokenizer
from mae3d.models.tokenizers.voxels import DynamicVFE, MeanVFE, VoxelTokenizer
from mae3d.models.tokenizers.waveform import WaveformTokenizer

__all__ = [
    "DynamicVFE",
    "GridPatchTokenizer",
    "GridPatches",
    "HardVoxelTokenizer",
    "MeanVFE",
    "MiniPointNet",
    "PatchTokenizer",
    "PillarMlp",
    "PointPatchTokenizer",
    "PointPatches",
    "RobertaEmbedding",
    "TokenEmbedding",
    "VoxelPatchTokenizer",
    "VoxelTokenizer",
    "WaveformTokenizer",
    "cut_patches",
    "grid_coordinates",
    "patchify",
    "unpatchify",
]
