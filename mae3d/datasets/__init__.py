"""From files to samples."""

from mae3d.datasets import audio, images, lidar, objects, text, videos
from mae3d.datasets.base import SampleDataset
from mae3d.datasets.held_out import HeldOut

__all__ = ["HeldOut", "SampleDataset", "audio", "images", "lidar", "objects", "text", "videos"]
