"""From files to samples."""

from mae3d.datasets import lidar, objects
from mae3d.datasets.base import SampleDataset

__all__ = ["SampleDataset", "lidar", "objects"]
