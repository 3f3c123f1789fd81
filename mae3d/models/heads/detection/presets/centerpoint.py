"""CenterPoint on voxels and on pillars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mae3d.models.backbones.bev import BaseBEVBackbone
from mae3d.models.backbones.sparse_voxel import VoxelResBackBone8x
from mae3d.models.heads.detection.center_head import CenterHead
from mae3d.models.heads.detection.detector import Detector
from mae3d.models.heads.detection.presets.classes import (
    KITTI_CLASSES,
    NUSCENES_CLASSES,
    NUSCENES_GROUPS,
    WAYMO_CLASSES,
)
from mae3d.models.tokenizers.voxels import DynamicVFE, MeanVFE, VoxelTokenizer
from mae3d.registry import MODELS


@MODELS.register_module()
def centerpoint_nuscenes(
    in_channels: int = 5, residual_bias: bool = True, head_bias: bool = False, **options: Any
) -> Detector:
    """CenterPoint on nuScenes with voxels of 0.1 m: residual sparse encoder, six groups of classes.

    Args:
        in_channels: Columns of the points: x y z intensity lag.
        residual_bias: See :class:`VoxelResBackBone8x`.
        head_bias: ``bias_before_norm`` of :class:`CenterHead`.
        **options: Of :class:`Detector`.
    """
    point_range = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
    encoder = VoxelResBackBone8x(in_channels, residual_bias)
    bev = BaseBEVBackbone(encoder.bev_channels(40))
    head = CenterHead(
        bev.out_channels,
        NUSCENES_CLASSES,
        point_range,
        groups=NUSCENES_GROUPS,
        velocity=True,
        bias_before_norm=head_bias,
        loc_weight=0.25,
        limit=(-61.2, -61.2, -10.0, 61.2, 61.2, 10.0),
        suppression={"threshold": 0.2, "before": 1000, "after": 83},
    )
    tokenizer = VoxelTokenizer(point_range, (0.1, 0.1, 0.2), MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, head, **options)


@MODELS.register_module()
def centerpoint_waymo(
    in_channels: int = 5, residual_bias: bool = True, head_bias: bool = False, **options: Any
) -> Detector:
    """CenterPoint on Waymo with voxels of 0.1 m: one group of three classes. Arguments as the one on nuScenes."""
    point_range = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
    encoder = VoxelResBackBone8x(in_channels, residual_bias)
    bev = BaseBEVBackbone(encoder.bev_channels(40))
    head = CenterHead(
        bev.out_channels,
        WAYMO_CLASSES,
        point_range,
        bias_before_norm=head_bias,
        limit=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0),
        suppression={"threshold": 0.7, "before": 4096, "after": 500},
    )
    tokenizer = VoxelTokenizer(point_range, (0.1, 0.1, 0.15), MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, head, **options)


@MODELS.register_module()
def centerpoint_kitti(
    in_channels: int = 4, residual_bias: bool = True, head_bias: bool = False, **options: Any
) -> Detector:
    """CenterPoint on KITTI with voxels of 0.05 m, as configured in OpenPCDet: a map of stride 4."""
    point_range = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
    encoder = VoxelResBackBone8x(in_channels, residual_bias)
    bev = BaseBEVBackbone(encoder.bev_channels(40), (5,), (1,), (128,), (2,), (256,))
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    head = CenterHead(bev.out_channels, KITTI_CLASSES, point_range, bias_before_norm=head_bias, suppression=suppression)
    tokenizer = VoxelTokenizer(point_range, (0.05, 0.05, 0.1), MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, head, **options)


@MODELS.register_module()
def centerpoint_pillar(
    classes: Sequence[str] = WAYMO_CLASSES,
    point_range: Sequence[float] = (-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
    pillar: float = 0.32,
    in_channels: int = 5,
    nms_threshold: float = 0.7,
    score_threshold: float = 0.1,
    head: dict | None = None,
    **options: Any,
) -> Detector:
    """CenterPoint on pillars: no 3D encoder, three levels of plain convolutions.

    Args:
        classes: Names; one group.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        pillar: Side of a pillar, metres.
        in_channels: Columns of the points.
        nms_threshold: IoU of the suppression: 0.7 on Waymo, 0.5 on ONCE.
        score_threshold: Detections need more.
        head: Further arguments of :class:`CenterHead`.
        **options: Of :class:`Detector`.
    """
    height = point_range[5] - point_range[2]
    tokenizer = VoxelTokenizer(point_range, (pillar, pillar, height), DynamicVFE(in_channels, (32, 64)))
    bev = BaseBEVBackbone(64, (3, 5, 5), (1, 2, 2), (64, 128, 256), (1, 2, 4), (128, 128, 128))
    center = CenterHead(
        bev.out_channels,
        classes,
        point_range,
        score_threshold=score_threshold,
        suppression={"threshold": nms_threshold, "before": 4096, "after": 500},
        **(head or {}),
    )
    return Detector(tokenizer, None, bev, center, **options)
