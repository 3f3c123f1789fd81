"""Transforms of batches: ``batch -> batch`` on any device."""

from mae3d.datasets.transforms import image, lidar
from mae3d.datasets.transforms.augment import (
    Jitter,
    PointTransform,
    RandomDropout,
    RandomScale,
    RandomShift,
    RotateY,
    ScaleAndTranslate,
)
from mae3d.datasets.transforms.sampling import PUBLISHED_POOLS, SampleFarthest, SampleRandom, take_points

__all__ = [
    "PUBLISHED_POOLS",
    "Jitter",
    "PointTransform",
    "RandomDropout",
    "RandomScale",
    "RandomShift",
    "RotateY",
    "SampleFarthest",
    "SampleRandom",
    "ScaleAndTranslate",
    "image",
    "lidar",
    "take_points",
]
