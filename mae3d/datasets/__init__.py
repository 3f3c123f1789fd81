"""From files to samples."""

from mae3d.datasets import audio, images, lidar, objects, text, videos
from mae3d.datasets.base import SampleDataset
from mae3d.datasets.held_out import HeldOut
from mae3d.datasets.parts import LabelledParts

__all__ = ["HeldOut", "LabelledParts", "SampleDataset", "audio", "images", "lidar", "objects", "text", "videos"]
