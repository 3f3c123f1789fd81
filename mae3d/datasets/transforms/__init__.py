"""Transforms of batches: ``batch -> batch`` on any device."""

from mae3d.datasets.transforms import audio, image, lidar
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
from mae3d.datasets.transforms.unit_ball import (
    CloudTransform,
    FitUnitBall,
    RandomMirrorX,
    RotateZ,
    ScaleInsideBall,
    SwapYZ,
)

__all__ = [
    "PUBLISHED_POOLS",
    "CloudTransform",
    "FitUnitBall",
    "Jitter",
    "PointTransform",
    "RandomDropout",
    "RandomMirrorX",
    "RandomScale",
    "RandomShift",
    "RotateY",
    "RotateZ",
    "SampleFarthest",
    "SampleRandom",
    "ScaleAndTranslate",
    "ScaleInsideBall",
    "SwapYZ",
    "audio",
    "image",
    "lidar",
    "take_points",
]
