"""From files to samples."""

from mae3d.datasets import images, lidar, objects, videos
from mae3d.datasets.base import SampleDataset
from mae3d.datasets.held_out import HeldOut

__all__ = ["HeldOut", "SampleDataset", "images", "lidar", "objects", "videos"]
