"""Detectors on the Sparse Transformer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mae3d.models.backbones.bev import SECONDFPN, AttachedConvs, BEVSequential
from mae3d.models.backbones.sst import SSTBackbone
from mae3d.models.heads.detection.anchor_head import AnchorHead
from mae3d.models.heads.detection.center_head import CenterHead
from mae3d.models.heads.detection.detector import Detector
from mae3d.models.heads.detection.presets.anchors import NUSCENES_ANCHORS
from mae3d.models.heads.detection.presets.classes import (
    NUSCENES_CLASSES,
    WAYMO_CLASSES,
)
from mae3d.models.tokenizers.voxels import DynamicVFE, VoxelTokenizer
from mae3d.registry import MODELS


@MODELS.register_module()
def sst_nuscenes(
    in_channels: int = 5,
    embed_dim: int = 128,
    depth: int = 8,
    num_heads: int = 8,
    max_window_tokens: int | None = 250,
    **options: Any,
) -> Detector:
    """What Voxel-MAE fine-tunes on nuScenes: SST on pillars of half a metre, three convolutions, anchors.

    Args:
        in_channels: Columns of the points: x y z (intensity) lag, as in pre-training.
        embed_dim: Width of SST.
        depth: Pairs of layers.
        num_heads: Attention heads.
        max_window_tokens: See :class:`SSTBackbone`.
        **options: Of :class:`Detector`.
    """
    point_range = (-50.0, -50.0, -5.0, 50.0, 50.0, 3.0)
    tokenizer = VoxelTokenizer(point_range, (0.5, 0.5, 8.0), DynamicVFE(in_channels, (embed_dim // 2, embed_dim)))
    encoder = SSTBackbone(embed_dim, depth, num_heads, max_window_tokens=max_window_tokens)
    neck = BEVSequential([AttachedConvs(embed_dim, embed_dim), SECONDFPN((embed_dim,), (384,))])
    head = AnchorHead(
        384,
        NUSCENES_CLASSES,
        NUSCENES_ANCHORS,
        (-49.6, -49.6, 49.6, 49.6),
        velocity=True,
        weights=(1.0, 1.0, 0.2),
        normalize="batch",
        forced=0.3,
        score_threshold=0.05,
        suppression={"kind": "class", "threshold": 0.2, "before": 1000, "after": 500},
    )
    return Detector(tokenizer, encoder, neck, head, **options)


@MODELS.register_module()
def sst_centerpoint(
    classes: Sequence[str] = WAYMO_CLASSES,
    point_range: Sequence[float] = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
    pillar: float = 0.32,
    in_channels: int = 5,
    normalized: bool = False,
    embed_dim: int = 128,
    encoder: dict | None = None,
    convolutions: dict | None = None,
    head: dict | None = None,
    **options: Any,
) -> Detector:
    """SST on pillars, four convolutions with skips, CenterPoint's head at full resolution (GD-MAE, T-MAE).

    Args:
        classes: Names; one group unless ``head`` says otherwise.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        pillar: Side of a pillar, metres.
        in_channels: Columns of the points.
        normalized: See :class:`DynamicVFE`.
        embed_dim: Width of SST and, unless ``convolutions`` says otherwise, of the map.
        encoder: Further arguments of :class:`SSTBackbone`; four pairs of layers and windows of 12 by default.
        convolutions: Further arguments of :class:`AttachedConvs`; dilations 1, 1, 2, 1, three with skips by default.
        head: Further arguments of :class:`CenterHead`.
        **options: Of :class:`Detector`.
    """
    voxel_size = (pillar, pillar, point_range[5] - point_range[2])
    vfe = DynamicVFE(in_channels, (embed_dim // 2, embed_dim), normalized=normalized)
    tokenizer = VoxelTokenizer(point_range, voxel_size, vfe)
    sst = SSTBackbone(embed_dim, **{"depth": 4, "window": (12, 12, 1), "temperature": 1000.0, **(encoder or {})})
    published = {"channels": embed_dim, "dilations": (1, 1, 2, 1), "residual": (0, 1, 2)}
    bev = AttachedConvs(embed_dim, **{**published, **(convolutions or {})})
    suppression = {"threshold": 0.7, "before": 4096, "after": 500}
    center = CenterHead(bev.out_channels, classes, point_range, **{"suppression": suppression, **(head or {})})
    return Detector(tokenizer, sst, bev, center, **options)
