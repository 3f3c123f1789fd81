"""Transforms of batches of images [B, C, rows, columns] and clips [B, C, frames, rows, columns], on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.transforms.random_draws import draw_normal, draw_uniform
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS
from mae3d.structures.colors import IMAGENET_MEAN, IMAGENET_STD

Batch = dict[str, Any]
FIELDS = ("image", "video")


def pixel_field(batch: Batch, transform: str) -> str:
    """Name of the field that holds pixels."""
    for name in FIELDS:
        if name in batch:
            return name
    raise DataError(f"{transform} needs the field 'image' or 'video' of a batch, got {sorted(batch)}")


@TRANSFORMS.register_module()
class NormalizePixels:
    """uint8 pixels to float32: (v / 255 - mean) / std per channel.

    Args:
        mean: Per channel or one number, of values in [0, 1]; the default is ImageNet's.
        std: Likewise.
    """

    def __init__(
        self,
        mean: float | Sequence[float] = IMAGENET_MEAN,
        std: float | Sequence[float] = IMAGENET_STD,
    ) -> None:
        self.mean, self.std = torch.tensor(mean).view(-1), torch.tensor(std).view(-1)

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        name = pixel_field(batch, "NormalizePixels")
        pixels = batch[name]
        if pixels.dtype != torch.uint8:
            raise DataError(f"NormalizePixels: {name} must be uint8, got {pixels.dtype}; it may be normalised already")
        channels = pixels.dim() - (4 if name == "video" else 3)  # views of a sample come before the channels
        shape = [-1 if axis == channels else 1 for axis in range(pixels.dim())]
        mean, std = (value.to(pixels.device).view(shape) for value in (self.mean, self.std))
        return {**batch, name: (pixels.float() / 255 - mean) / std}


@TRANSFORMS.register_module()
class FoldViews:
    """Views of a sample [B, views, ...] to samples of their own [B * views, ...]; labels and indices are repeated.

    The repeated augmentation of MAE-ST: several draws of one decoded clip in the same batch.
    """

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        name = pixel_field(batch, "FoldViews")
        views = batch[name].shape[1]
        repeated = {
            key: value.repeat_interleave(views, dim=0) if isinstance(value, Tensor) else value
            for key, value in batch.items()
            if key != name
        }
        return {**repeated, name: batch[name].flatten(0, 1)}


@TRANSFORMS.register_module()
class RandomErasing:
    """Noise in place of one rectangle of a sample, the same in all frames of a clip (arXiv 1708.04896, timm's "pixel").

    Args:
        probability: Of a sample to be changed.
        area: Smallest and largest share of the area; uniform.
        aspect: Smallest ratio of sides; the logarithm is uniform up to its inverse.
        attempts: Draws of a rectangle that fits.
    """

    def __init__(
        self,
        probability: float = 0.25,
        area: tuple[float, float] = (0.02, 1 / 3),
        aspect: float = 0.3,
        attempts: int = 10,
    ) -> None:
        if not 0 <= probability <= 1 or not 0 < area[0] <= area[1] <= 1:
            raise ConfigError(f"RandomErasing: probability and area must be in [0, 1], got {probability} and {area}")
        self.probability, self.area, self.aspect, self.attempts = probability, tuple(area), aspect, attempts

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed; pixels must be normalised already."""
        name = pixel_field(batch, "RandomErasing")
        pixels = batch[name].clone()
        host = torch.empty(0)
        for sample in pixels:
            if draw_uniform((1,), 0, 1, host, generator).item() >= self.probability:
                continue
            box = self._draw(sample.shape[-2:], host, generator)
            if box is not None:
                top, left, height, width = box
                part = sample[..., top : top + height, left : left + width]
                part.copy_(draw_normal(tuple(part.shape), 1.0, part, generator))
        return {**batch, name: pixels}

    def _draw(self, size: torch.Size, like: Tensor, generator: torch.Generator | None) -> tuple[int, ...] | None:
        rows, columns = size
        for share, shape, y, x in draw_uniform((self.attempts, 4), 0, 1, like, generator).tolist():
            area = rows * columns * (self.area[0] + share * (self.area[1] - self.area[0]))
            aspect = self.aspect ** (1 - 2 * shape)
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < height < rows and 0 < width < columns:
                return int(y * (rows - height + 1)), int(x * (columns - width + 1)), height, width
        return None
