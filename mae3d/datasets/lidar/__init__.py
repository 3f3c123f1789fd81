"""Driving data sets: sweeps, boxes and poses from the official files."""

from mae3d.datasets.lidar.argoverse2 import Argoverse2
from mae3d.datasets.lidar.base import LidarDataset, collate_packed
from mae3d.datasets.lidar.box_crops import BoxCrops
from mae3d.datasets.lidar.class_balanced import ClassBalanced
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.kitti import Kitti
from mae3d.datasets.lidar.nuscenes import NuScenes
from mae3d.datasets.lidar.once import Once
from mae3d.datasets.lidar.previous_frame import PreviousFrame
from mae3d.datasets.lidar.semantickitti import SemanticKitti
from mae3d.datasets.lidar.sequence_folder import SequenceFolder
from mae3d.datasets.lidar.simulated import SimulatedDrives
from mae3d.datasets.lidar.waymo import Waymo

__all__ = [
    "Argoverse2",
    "BoxCrops",
    "ClassBalanced",
    "Frame",
    "FrameIndex",
    "Kitti",
    "LidarDataset",
    "NuScenes",
    "Once",
    "PreviousFrame",
    "SemanticKitti",
    "SequenceFolder",
    "SimulatedDrives",
    "Waymo",
    "collate_packed",
]
