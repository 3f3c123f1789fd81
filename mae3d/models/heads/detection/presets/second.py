"""SECOND: plain sparse encoder, anchors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mae3d.models.backbones.bev import BaseBEVBackbone
from mae3d.models.backbones.sparse_voxel import VoxelBackBone8x
from mae3d.models.heads.detection.anchor_head import AnchorHead
from mae3d.models.heads.detection.detector import Detector
from mae3d.models.heads.detection.presets.anchors import KITTI_ANCHORS, NUSCENES_ANCHORS, ONCE_ANCHORS, WAYMO_ANCHORS
from mae3d.models.heads.detection.presets.classes import (
    KITTI_CLASSES,
    NUSCENES_CLASSES,
    ONCE_CLASSES,
    WAYMO_CLASSES,
)
from mae3d.models.tokenizers.voxels import MeanVFE, VoxelTokenizer
from mae3d.registry import MODELS


def _second(
    classes: Sequence[str],
    anchors: Sequence[dict],
    point_range: Sequence[float],
    voxel_size: Sequence[float],
    in_channels: int,
    suppression: dict,
    detector: dict[str, Any],
    **head: Any,
) -> Detector:
    encoder = VoxelBackBone8x(in_channels)
    height = round((point_range[5] - point_range[2]) / voxel_size[2])
    bev = BaseBEVBackbone(encoder.bev_channels(height))
    area = (*point_range[:2], *point_range[3:5])
    anchor_head = AnchorHead(bev.out_channels, classes, anchors, area, suppression=suppression, **head)
    tokenizer = VoxelTokenizer(point_range, voxel_size, MeanVFE(in_channels))
    return Detector(tokenizer, encoder, bev, anchor_head, **detector)


@MODELS.register_module()
def second_kitti(**options: Any) -> Detector:
    """SECOND on KITTI: plain sparse encoder, one size of anchor per class."""
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    point_range = (0.0, -40.0, -3.0, 70.4, 40.0, 1.0)
    return _second(KITTI_CLASSES, KITTI_ANCHORS, point_range, (0.05, 0.05, 0.1), 4, suppression, options)


@MODELS.register_module()
def second_waymo(in_channels: int = 5, **options: Any) -> Detector:
    """SECOND on Waymo, as configured in OpenPCDet."""
    suppression = {"threshold": 0.7, "before": 4096, "after": 500}
    point_range = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
    return _second(WAYMO_CLASSES, WAYMO_ANCHORS, point_range, (0.1, 0.1, 0.15), in_channels, suppression, options)


@MODELS.register_module()
def second_once(in_channels: int = 4, **options: Any) -> Detector:
    """SECOND on ONCE, as configured in OpenPCDet."""
    suppression = {"threshold": 0.01, "before": 4096, "after": 500}
    point_range = (-75.2, -75.2, -5.0, 75.2, 75.2, 3.0)
    return _second(ONCE_CLASSES, ONCE_ANCHORS, point_range, (0.1, 0.1, 0.2), in_channels, suppression, options)


@MODELS.register_module()
def second_nuscenes(in_channels: int = 5, **options: Any) -> Detector:
    """SECOND on nuScenes with the anchors of SST and velocities: no published configuration."""
    suppression = {"kind": "class", "threshold": 0.2, "before": 1000, "after": 500}
    return _second(
        NUSCENES_CLASSES,
        NUSCENES_ANCHORS,
        (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
        (0.1, 0.1, 0.2),
        in_channels,
        suppression,
        options,
        velocity=True,
        weights=(1.0, 1.0, 0.2),
        normalize="batch",
        forced=0.3,
        score_threshold=0.05,
    )
