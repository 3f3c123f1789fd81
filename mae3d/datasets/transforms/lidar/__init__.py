"""Transforms of driving scenes: points and boxes together."""

from mae3d.datasets.transforms.lidar.fit_range import FitRange
from mae3d.datasets.transforms.lidar.ground_truth_sampling import GroundTruthSampling
from mae3d.datasets.transforms.lidar.scale_features import ScaleFeatures
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
from mae3d.datasets.transforms.lidar.sensing import SensingReport, SkipSectors, sensing_table

__all__ = [
    "BoxFilter",
    "FitRange",
    "FlipScene",
    "GroundTruthSampling",
    "RangeFilter",
    "RotateScene",
    "ScaleFeatures",
    "ScaleScene",
    "SceneTransform",
    "SensingReport",
    "ShufflePoints",
    "SkipSectors",
    "TranslateScene",
    "sensing_table",
]
