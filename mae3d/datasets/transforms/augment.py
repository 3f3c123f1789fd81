"""Augmentations of batches of object clouds (object-points family), vectorised over the batch, on any device.

A transform is called with a batch (``points`` [B, N, 3 or 6], labels, ...) and a generator and returns a new batch;
the one it was given stays as it was. Columns 3 to 5 are normals and follow the geometry.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.transforms.random_draws import draw_normal, draw_uniform
from mae3d.errors import ConfigError
from mae3d.registry import TRANSFORMS

Batch = dict[str, Any]


class PointTransform:
    """Base: splits ``points`` into coordinates and normals and puts them together again."""

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        points = batch["points"]
        xyz, normals = self.apply(points[..., :3], points[..., 3:], generator)
        changed = xyz if points.shape[-1] == 3 else torch.cat([xyz, normals], dim=-1)
        return {**batch, "points": changed}

    @abstractmethod
    def apply(self, xyz: Tensor, normals: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Change coordinates [B, N, 3] and normals [B, N, 0 or 3]."""


def _check_interval(transform: str, name: str, low: float, high: float) -> None:
    if not low <= high:
        raise ConfigError(f"{transform}: {name} must be (low, high) with low <= high, got ({low}, {high})")


@TRANSFORMS.register_module()
class RandomScale(PointTransform):
    """Multiply each cloud by a factor U(low, high) per axis, or by one for all axes.

    Normals are transformed by the inverse factors and keep unit length, as surface normals do; the official code
    leaves them as they are, which differs only for per-axis factors.
    """

    def __init__(self, low: float = 2 / 3, high: float = 3 / 2, *, isotropic: bool = False) -> None:
        _check_interval("RandomScale", "range", low, high)
        if low <= 0:
            raise ConfigError(f"RandomScale: factors must be positive, got low={low}")
        self.low, self.high, self.isotropic = low, high, isotropic

    def apply(self, xyz: Tensor, normals: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw factors [B, 1, 3 or 1] and apply them."""
        factor = draw_uniform((len(xyz), 1, 1 if self.isotropic else 3), self.low, self.high, xyz, generator)
        if normals.shape[-1] and not self.isotropic:
            normals = torch.nn.functional.normalize(normals / factor, dim=-1)
        return xyz * factor, normals


@TRANSFORMS.register_module()
class RandomShift(PointTransform):
    """Move each cloud by U(-limit, limit) per axis."""

    def __init__(self, limit: float = 0.2) -> None:
        _check_interval("RandomShift", "range", -limit, limit)
        self.limit = limit

    def apply(self, xyz: Tensor, normals: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw shifts [B, 1, 3] and apply them."""
        return xyz + draw_uniform((len(xyz), 1, 3), -self.limit, self.limit, xyz, generator), normals


@TRANSFORMS.register_module()
class ScaleAndTranslate(PointTransform):
    """The family's standard: per-axis factor U(2/3, 3/2), then per-axis shift U(-0.2, 0.2)."""

    def __init__(self, low: float = 2 / 3, high: float = 3 / 2, limit: float = 0.2, *, isotropic: bool = False) -> None:
        self.scale = RandomScale(low, high, isotropic=isotropic)
        self.shift = RandomShift(limit)

    def apply(self, xyz: Tensor, normals: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Scale, then shift."""
        return self.shift.apply(*self.scale.apply(xyz, normals, generator), generator)


@TRANSFORMS.register_module()
class RotateY(PointTransform):
    """Turn each cloud about the y axis by an angle U(low, high) in radians; normals turn along.

    Args:
        low: Smallest angle.
        high: Largest angle.
        shared: One angle for the whole batch (I2P-MAE's fine-tuning on ScanObjectNN).
    """

    def __init__(self, low: float = 0.0, high: float = 2 * math.pi, *, shared: bool = False) -> None:
        _check_interval("RotateY", "range", low, high)
        self.low, self.high, self.shared = low, high, shared

    def apply(self, xyz: Tensor, normals: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Row vectors times [[c, 0, s], [0, 1, 0], [-s, 0, c]]."""
        angle = draw_uniform((1 if self.shared else len(xyz), 1), self.low, self.high, xyz, generator)
        c, s = angle.cos(), angle.sin()

        def rotate(vectors: Tensor) -> Tensor:
            x, y, z = vectors.unbind(-1)
            return torch.stack([c * x - s * z, y, s * x + c * z], dim=-1)

        return rotate(xyz), rotate(normals) if normals.shape[-1] else normals


@TRANSFORMS.register_module()
class Jitter(PointTransform):
    """Add N(0, std) to each coordinate, clipped at ``clip``."""

    def __init__(self, std: float = 0.01, clip: float = 0.05) -> None:
        if std < 0 or clip < 0:
            raise ConfigError(f"Jitter: std and clip must not be negative, got {std} and {clip}")
        self.std, self.clip = std, clip

    def apply(self, xyz: Tensor, normals: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Draw noise [B, N, 3] and add it."""
        return xyz + draw_normal(tuple(xyz.shape), self.std, xyz, generator).clamp(-self.clip, self.clip), normals


@TRANSFORMS.register_module()
class RandomDropout:
    """Replace a part of each cloud by copies of its point 0; the part is drawn from U(0, max_ratio).

    Point-BERT uses 0.875, the others 0.5. Labels of replaced points become that of point 0.
    """

    def __init__(self, max_ratio: float = 0.5) -> None:
        if not 0 <= max_ratio <= 1:
            raise ConfigError(f"RandomDropout: max_ratio must be in [0, 1], got {max_ratio}")
        self.max_ratio = max_ratio

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        points = batch["points"]
        B, N = points.shape[:2]
        ratio = draw_uniform((B, 1), 0, self.max_ratio, points, generator)
        dropped = draw_uniform((B, N), 0, 1, points, generator) <= ratio
        result = {**batch, "points": torch.where(dropped[..., None], points[:, :1], points)}
        if "part_label" in batch:
            parts = batch["part_label"]
            result["part_label"] = torch.where(dropped, parts[:, :1], parts)
        return result
