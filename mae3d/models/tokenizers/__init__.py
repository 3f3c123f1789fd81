"""Tokenizers: samples to tokens."""

from mae3d.models.tokenizers.point_patches import MiniPointNet, PointPatches, PointPatchTokenizer, group_points

__all__ = ["MiniPointNet", "PointPatchTokenizer", "PointPatches", "group_points"]
