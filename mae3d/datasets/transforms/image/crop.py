"""Crops, resizes and flips of single images and clips, as torchvision and the official code define them."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from mae3d.datasets.transforms.image.frames import Frames, resampling
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS

Box = tuple[int, int, int, int]


def cut(frames: Frames, box: Box, size: int | None = None, interpolation: str = "bicubic") -> Frames:
    """The part ``box`` = (left, top, width, height) of every frame, resized to a square of ``size`` pixels."""
    left, top, width, height = box
    parts = [frame.crop((left, top, left + width, top + height)) for frame in frames]
    if size is None or (width, height) == (size, size):
        return parts
    return [part.resize((size, size), resampling(interpolation)) for part in parts]


@TRANSFORMS.register_module()
class RandomResizedCrop:
    """A part of random area and aspect ratio, resized to a square.

    Area is uniform, the logarithm of the aspect ratio is uniform. As in torchvision, sizes that do not fit are drawn
    again up to ten times, and then the largest central part of an allowed aspect ratio is taken.

    Args:
        size: Side of the result in pixels.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest width over height.
        interpolation: "bicubic", "bilinear" or "nearest".
        retry: False cuts a size that does not fit down to the image instead of drawing again, as MAE's linear probe
            does.
    """

    def __init__(
        self,
        size: int = 224,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        interpolation: str = "bicubic",
        *,
        retry: bool = True,
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1 or not 0 < ratio[0] <= ratio[1]:
            raise ConfigError(f"RandomResizedCrop: scale in (0, 1] and ratio, low <= high, got {scale} and {ratio}")
        resampling(interpolation)
        self.size, self.scale, self.ratio = size, tuple(scale), tuple(ratio)
        self.interpolation, self.retry = interpolation, retry

    def draw(self, width: int, height: int, generator: np.random.Generator) -> Box:
        """Left, top, width and height of the part."""
        for _ in range(10 if self.retry else 1):
            area = width * height * generator.uniform(*self.scale)
            aspect = math.exp(generator.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if not self.retry:
                w, h = min(w, width), min(h, height)
            if 0 < w <= width and 0 < h <= height:
                return int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1)), w, h
        aspect = min(max(width / height, self.ratio[0]), self.ratio[1])
        w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
        return (width - w) // 2, (height - h) // 2, w, h

    def __call__(self, frames: Frames, generator: np.random.Generator) -> Frames:
        """The same part of every frame."""
        return cut(frames, self.draw(*frames[0].size, generator), self.size, self.interpolation)


@TRANSFORMS.register_module()
class MultiScaleCrop:
    """One of thirteen fixed places, sides from a few scales of the short side (VideoMAE's pre-training).

    Args:
        size: Side of the result in pixels.
        scales: Shares of the short side; width and height may be one step of the list apart.
    """

    OFFSETS = ((0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3))
    """Quarters of the room that is left, along columns and rows."""

    def __init__(self, size: int = 224, scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)) -> None:
        self.size, self.scales = size, tuple(scales)

    def __call__(self, frames: Frames, generator: np.random.Generator) -> Frames:
        """The same part of every frame."""
        width, height = frames[0].size
        sides = [int(min(width, height) * scale) for scale in self.scales]
        sides = [self.size if abs(side - self.size) < 3 else side for side in sides]
        pairs = [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
        w, h = pairs[generator.integers(len(pairs))]
        x, y = self.OFFSETS[generator.integers(len(self.OFFSETS))]
        return cut(frames, (x * ((width - w) // 4), y * ((height - h) // 4), w, h), self.size, "bilinear")


@TRANSFORMS.register_module()
class RandomFlip:
    """Mirror left and right with a probability."""

    def __init__(self, probability: float = 0.5) -> None:
        self.probability = probability

    def __call__(self, frames: Frames, generator: np.random.Generator) -> Frames:
        """All frames or none."""
        if generator.random() >= self.probability:
            return frames
        return [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for frame in frames]


@TRANSFORMS.register_module()
class ResizeShortSide:
    """Resize so that the shorter side has ``size`` pixels; the aspect ratio stays."""

    def __init__(self, size: int = 256, interpolation: str = "bicubic") -> None:
        resampling(interpolation)
        self.size, self.interpolation = size, interpolation

    def __call__(self, frames: Frames, generator: np.random.Generator | None = None) -> Frames:
        """All frames."""
        width, height = frames[0].size
        short = min(width, height)
        wanted = (int(self.size * width / short), int(self.size * height / short))
        return [frame.resize(wanted, resampling(self.interpolation)) for frame in frames]


@TRANSFORMS.register_module()
class CenterCrop:
    """The central square of ``size`` pixels."""

    def __init__(self, size: int = 224) -> None:
        self.size = size

    def __call__(self, frames: Frames, generator: np.random.Generator | None = None) -> Frames:
        """All frames."""
        width, height = frames[0].size
        if min(width, height) < self.size:
            raise DataError(
                f"CenterCrop: frames of {width} x {height} pixels are smaller than {self.size}; resize first"
            )
        return cut(frames, (round((width - self.size) / 2), round((height - self.size) / 2), self.size, self.size))


@TRANSFORMS.register_module()
class ThreeCrops:
    """Three squares along the longer side, as views of a test clip: the frames of all three, one after another."""

    def __init__(self, size: int = 224) -> None:
        self.size = size

    def __call__(self, frames: Frames, generator: np.random.Generator | None = None) -> Frames:
        """Left, middle and right (top, middle and bottom of tall frames); the shorter side must have ``size``."""
        width, height = frames[0].size
        if min(width, height) != self.size:
            raise DataError(f"ThreeCrops: the shorter side must have {self.size} pixels, got {width} x {height}")
        views: Frames = []
        for third in range(3):
            place = third * (max(width, height) - self.size) // 2
            left, top = (place, 0) if width >= height else (0, place)
            views += cut(frames, (left, top, self.size, self.size))
        return views
