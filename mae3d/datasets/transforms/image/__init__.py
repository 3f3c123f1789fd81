"""Transforms of images and clips: of single samples (lists of PIL frames) and of batches of pixels."""

from mae3d.datasets.transforms.image.batch import FoldViews, NormalizePixels, RandomErasing
from mae3d.datasets.transforms.image.crop import (
    CenterCrop,
    MultiScaleCrop,
    RandomFlip,
    RandomResizedCrop,
    ResizeShortSide,
    ThreeCrops,
)
from mae3d.datasets.transforms.image.mix import Mixup
from mae3d.datasets.transforms.image.rand_augment import RandAugment

__all__ = [
    "CenterCrop",
    "FoldViews",
    "Mixup",
    "MultiScaleCrop",
    "NormalizePixels",
    "RandAugment",
    "RandomErasing",
    "RandomFlip",
    "RandomResizedCrop",
    "ResizeShortSide",
    "ThreeCrops",
]
