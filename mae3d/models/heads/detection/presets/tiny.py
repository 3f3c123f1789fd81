"""A detector for short runs on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mae3d.models.backbones.bev import BaseBEVBackbone
from mae3d.models.heads.detection.center_head import CenterHead
from mae3d.models.heads.detection.detector import Detector
from mae3d.models.heads.detection.presets.classes import (
    NUSCENES_CLASSES,
)
from mae3d.models.tokenizers.voxels import DynamicVFE, VoxelTokenizer
from mae3d.registry import MODELS


@MODELS.register_module()
def centerpoint_tiny(
    classes: Sequence[str] = NUSCENES_CLASSES,
    point_range: Sequence[float] = (-25.6, -25.6, -5.0, 25.6, 25.6, 3.0),
    voxel_size: Sequence[float] = (0.8, 0.8, 8.0),
    in_channels: int = 4,
    width: int = 32,
    **options: Any,
) -> Detector:
    """A pillar CenterPoint that learns in seconds on a CPU, with velocities.

    Args:
        classes: Names; one group.
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        voxel_size: (x, y, z), metres, one cell high.
        in_channels: Columns of the points.
        width: Channels of the map.
        **options: Of :class:`Detector`.
    """
    tokenizer = VoxelTokenizer(point_range, voxel_size, DynamicVFE(in_channels, (width // 2, width)))
    bev = BaseBEVBackbone(width, (1, 1), (1, 2), (width, width), (1, 2), (width, width))
    head = CenterHead(
        bev.out_channels,
        classes,
        point_range,
        velocity=True,
        shared_channels=width,
        loc_weight=1.0,
        suppression={"threshold": 0.2, "before": 500, "after": 100},
    )
    detector = Detector(tokenizer, None, bev, head, **options)
    for module in detector.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 0.1  # 0.01 needs more steps than a short run has
    return detector
