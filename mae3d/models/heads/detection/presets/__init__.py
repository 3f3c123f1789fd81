"""Detectors of the literature by name."""

from mae3d.models.heads.detection.presets.centerpoint import (
    centerpoint_kitti,
    centerpoint_nuscenes,
    centerpoint_pillar,
    centerpoint_waymo,
)
from mae3d.models.heads.detection.presets.classes import (
    KITTI_CLASSES,
    NUSCENES_CLASSES,
    NUSCENES_GROUPS,
    ONCE_CLASSES,
    WAYMO_CLASSES,
)
from mae3d.models.heads.detection.presets.pyramids import (
    gd_mae_centerpoint,
    gd_mae_kitti_anchors,
    gd_mae_two_stage,
    t_mae_centerpoint,
)
from mae3d.models.heads.detection.presets.second import second_kitti, second_nuscenes, second_once, second_waymo
from mae3d.models.heads.detection.presets.sst import sst_centerpoint, sst_nuscenes
from mae3d.models.heads.detection.presets.tiny import centerpoint_tiny

__all__ = [
    "KITTI_CLASSES",
    "NUSCENES_CLASSES",
    "NUSCENES_GROUPS",
    "ONCE_CLASSES",
    "WAYMO_CLASSES",
    "centerpoint_kitti",
    "centerpoint_nuscenes",
    "centerpoint_pillar",
    "centerpoint_tiny",
    "centerpoint_waymo",
    "gd_mae_centerpoint",
    "gd_mae_kitti_anchors",
    "gd_mae_two_stage",
    "second_kitti",
    "second_nuscenes",
    "second_once",
    "second_waymo",
    "sst_centerpoint",
    "sst_nuscenes",
    "t_mae_centerpoint",
]
