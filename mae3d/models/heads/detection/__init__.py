"""Detection of objects in driving scenes."""

from mae3d.models.heads.detection.anchor_head import AnchorHead
from mae3d.models.heads.detection.center_head import CenterHead
from mae3d.models.heads.detection.detector import Detector, TemporalDetector
from mae3d.models.heads.detection.graph_refiner import GraphRefiner
from mae3d.models.heads.detection.presets import (
    centerpoint_kitti,
    centerpoint_nuscenes,
    centerpoint_pillar,
    centerpoint_tiny,
    centerpoint_waymo,
    gd_mae_centerpoint,
    gd_mae_kitti_anchors,
    gd_mae_two_stage,
    second_kitti,
    second_nuscenes,
    second_once,
    second_waymo,
    sst_centerpoint,
    sst_nuscenes,
    t_mae_centerpoint,
)
from mae3d.models.heads.detection.suppression import Suppression
from mae3d.models.heads.detection.two_stage import TwoStageDetector

__all__ = [
    "AnchorHead",
    "CenterHead",
    "Detector",
    "GraphRefiner",
    "Suppression",
    "TemporalDetector",
    "TwoStageDetector",
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
