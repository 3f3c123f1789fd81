"""Transforms of driving scenes: points and boxes together."""

from mae3d.datasets.transforms.lidar.ground_truth_sampling import GroundTruthSampling
from mae3d.datasets.transforms.lidar.scene import (
    BoxFilter,
    FlipScene,
    RangeFilter,
    RotateScene,
    ScaleScene,
    SceneTransform,
    ShufflePoints,
    TranslateScene,
)

__all__ = [
    "BoxFilter",
    "FlipScene",
    "GroundTruthSampling",
    "RangeFilter",
    "RotateScene",
    "ScaleScene",
    "SceneTransform",
    "ShufflePoints",
    "TranslateScene",
]
