"""Tokenizers: samples to tokens."""

from mae3d.models.tokenizers.point_patches import MiniPointNet, PointPatches, PointPatchTokenizer, cut_patches

__all__ = ["MiniPointNet", "PointPatchTokenizer", "PointPatches", "cut_patches"]
