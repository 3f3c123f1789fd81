"""Augmentations of P3P: clouds of any size, packed or dense, brought into the cube [-1, 1]^3.

A transform is called with a batch (``points`` packed [T, C] with ``offsets``, or dense [B, N, C]; x y z first) and a
generator, and returns a new batch. Every cloud gets its own draw.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.transforms.random_draws import draw_uniform
from mae3d.errors import ConfigError
from mae3d.ops.scatter import scatter_reduce
from mae3d.registry import TRANSFORMS

Batch = dict[str, Any]


class CloudTransform:
    """Base: hands coordinates [T, 3] and the cloud of each row to :meth:`move`."""

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        points = batch["points"]
        rows = points.reshape(-1, points.shape[-1])
        if "offsets" in batch:
            counts = batch["offsets"].diff()
        else:
            counts = torch.full(points.shape[:1], points.shape[1], device=points.device)
        cloud = torch.repeat_interleave(counts, output_size=len(rows))
        xyz = self.move(rows[:, :3].contiguous(), cloud, len(counts), generator)
        return {**batch, "points": torch.cat((xyz, rows[:, 3:]), dim=1).view(points.shape)}

    @abstractmethod
    def move(self, xyz: Tensor, cloud: Tensor, clouds: int, generator: torch.Generator | None) -> Tensor:
        """New coordinates [T, 3]; ``cloud`` int64 [T] in [0, clouds)."""


@TRANSFORMS.register_module()
class FitUnitBall(CloudTransform):
    """Move the mean of each cloud to the origin and scale its largest norm to ``radius``.

    A cloud of one place stays at the origin.
    """

    def __init__(self, radius: float = 0.9999) -> None:
        if not radius > 0:
            raise ConfigError(f"FitUnitBall: radius must be positive, got {radius}")
        self.radius = radius

    def move(self, xyz: Tensor, cloud: Tensor, clouds: int, generator: torch.Generator | None) -> Tensor:
        """Centre and scale."""
        centered = xyz - scatter_reduce(xyz, cloud, clouds, "mean")[cloud]
        largest = scatter_reduce(centered.norm(dim=1, keepdim=True), cloud, clouds, "max")
        return centered * (self.radius / torch.where(largest > 0, largest, 1.0))[cloud]


@TRANSFORMS.register_module()
class RandomMirrorX(CloudTransform):
    """Mirror x about its mean with a probability."""

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise ConfigError(f"RandomMirrorX: probability must be in [0, 1], got {probability}")
        self.probability = probability

    def move(self, xyz: Tensor, cloud: Tensor, clouds: int, generator: torch.Generator | None) -> Tensor:
        """x -> 2 mean - x."""
        mirrored = draw_uniform((clouds, 1), 0, 1, xyz, generator) < self.probability
        x = xyz[:, :1]
        turned = 2 * scatter_reduce(x.contiguous(), cloud, clouds, "mean")[cloud] - x
        return torch.cat((torch.where(mirrored[cloud], turned, x), xyz[:, 1:]), dim=1)


@TRANSFORMS.register_module()
class SwapYZ(CloudTransform):
    """Exchange y and z: clouds with y up, as object data sets have them, get z up, as lifted images have it.

    A reflection, as published; :class:`RandomMirrorX` makes either handedness as likely.
    """

    def move(self, xyz: Tensor, cloud: Tensor, clouds: int, generator: torch.Generator | None) -> Tensor:
        """(x, y, z) -> (x, z, y)."""
        return xyz[:, [0, 2, 1]]


@TRANSFORMS.register_module()
class RotateZ(CloudTransform):
    """Turn each cloud about the z axis by an angle U(low, high) in radians."""

    def __init__(self, low: float = -math.pi, high: float = math.pi) -> None:
        if not low <= high:
            raise ConfigError(f"RotateZ: angles must be (low, high) with low <= high, got ({low}, {high})")
        self.low, self.high = low, high

    def move(self, xyz: Tensor, cloud: Tensor, clouds: int, generator: torch.Generator | None) -> Tensor:
        """Counter-clockwise seen from +z."""
        angle = draw_uniform((clouds,), self.low, self.high, xyz, generator)[cloud]
        x, y, z = xyz.unbind(dim=1)
        c, s = angle.cos(), angle.sin()
        return torch.stack((c * x - s * y, s * x + c * y, z), dim=1)


@TRANSFORMS.register_module()
class ScaleInsideBall(CloudTransform):
    """Shrink each axis by U(low, 1) and move the cloud by what that leaves free, so that it stays in the unit cube.

    The shift of every axis is U(0, 1) times (1 - the largest of the three factors); the whole vector changes its sign
    with probability one half.
    """

    def __init__(self, low: float = 0.5) -> None:
        if not 0 < low <= 1:
            raise ConfigError(f"ScaleInsideBall: low must be in (0, 1], got {low}")
        self.low = low

    def move(self, xyz: Tensor, cloud: Tensor, clouds: int, generator: torch.Generator | None) -> Tensor:
        """Draw factors and shifts [B, 3] and apply them."""
        factor = draw_uniform((clouds, 3), self.low, 1, xyz, generator)
        shift = draw_uniform((clouds, 3), 0, 1, xyz, generator) * (1 - factor.amax(dim=1, keepdim=True))
        shift = torch.where(draw_uniform((clouds, 1), 0, 1, xyz, generator) < 0.5, -shift, shift)
        return xyz * factor[cloud] + shift[cloud]
