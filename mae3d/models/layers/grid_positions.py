"""Position embeddings of tokens that lie on a regular grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.registry import MODELS

TableKind = Literal["sincos", "sinusoid", "learned"]


def _angles(positions: Tensor, dim: int) -> Tensor:
    """Positions [N] -> float64 [N, dim / 2], position / 10000^(i / (dim / 2))."""
    frequencies = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    return positions.to(torch.float64)[:, None] * frequencies


def sincos_table(grid: Sequence[int], dim: int, last_first: bool = True) -> Tensor:
    """Sines and cosines of every axis, one after another: float32 [N, dim].

    Each axis has dim / n channels, first all sines, then all cosines. The LAST axis comes first: on an image the
    first half of the channels tells the column and the second half the row, as in MAE's code. DiT-3D has the axes in
    their own order (``last_first=False``).
    """
    share = dim // len(grid)
    if dim % len(grid) or share % 2:
        raise ConfigError(f"sincos positions of {len(grid)} axes need a width divisible by {2 * len(grid)}, got {dim}")
    axes = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    angles = [_angles(axis.flatten(), share) for axis in (reversed(axes) if last_first else axes)]
    return torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1).float()


def sinusoid_table(count: int, dim: int) -> Tensor:
    """Sine at even, cosine at odd channels of one running index: float32 [count, dim] (Transformer, VideoMAE)."""
    angles = _angles(torch.arange(count), dim)
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1).float()


@MODELS.register_module()
class GridPositions(nn.Module):
    """One row of a table for each cell of a grid.

    Args:
        embed_dim: Width C.
        grid: Cells along every axis.
        table: "sincos" (:func:`sincos_table`), "sinusoid" (:func:`sinusoid_table` over the row-major index) or
            "learned" (normal, std 0.02).
        trainable: Whether the table learns; None: only a "learned" one.
        stored: Whether a table that does not learn is in the state dict (MAE's is, VideoMAE's is not).
        raster: Cells of another grid, of as many cells or more, that the table is made for; cell i of ``grid`` takes
            its row i. Such a table is cut to fit a smaller grid and never resized (see :meth:`fit`).
    """

    def __init__(
        self,
        embed_dim: int,
        grid: Sequence[int],
        table: TableKind = "sincos",
        *,
        trainable: bool | None = None,
        stored: bool = True,
        raster: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.grid = tuple(grid)
        self.raster = None if raster is None else tuple(raster)
        count = math.prod(self.grid)
        if raster is not None and math.prod(self.raster) < count:
            raise ConfigError(f"GridPositions: raster {self.raster} has fewer cells than the grid {self.grid}")
        if table == "sincos":
            rows = sincos_table(self.raster or self.grid, embed_dim)[:count]
        elif table == "sinusoid":
            rows = sinusoid_table(count, embed_dim)
        elif table == "learned":
            rows = nn.init.trunc_normal_(torch.empty(count, embed_dim), std=0.02)
        else:
            raise ConfigError(f'GridPositions: table must be "sincos", "sinusoid" or "learned", got {table!r}')
        trainable = table == "learned" if trainable is None else trainable
        if trainable or stored:
            self.table = nn.Parameter(rows[None], requires_grad=trainable)
        else:
            self.register_buffer("table", rows[None], persistent=False)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Cell indices [..., n] -> rows of the table [..., C]."""
        return F.embedding(flat_index(coordinates, self.grid), self.table[0])

    def fit(self, table: Tensor) -> Tensor:
        """A stored table [1, M, C] of another square grid, resized to this one (bicubic, as MAE and timm do).

        With a ``raster``, the beginning of the stored table: a shorter sound is the beginning of a longer one.

        Raises:
            ConfigError: One of the two grids is not a two-dimensional one that can be resized, or the table is too
                short to be cut.
        """
        if self.raster is not None:
            count = math.prod(self.grid)
            if table.shape[1] < count:
                raise ConfigError(f"a table of {table.shape[1]} positions is too short for a grid of {self.grid}")
            return table[:, :count]
        side = math.isqrt(table.shape[1])
        if len(self.grid) != 2 or side * side != table.shape[1]:
            raise ConfigError(f"a table of {table.shape[1]} positions cannot be resized to a grid of {self.grid}")
        image = table.unflatten(1, (side, side)).movedim(-1, 1).float()
        resized = F.interpolate(image, self.grid, mode="bicubic", align_corners=False)
        return resized.movedim(1, -1).flatten(1, 2).to(table.dtype)


@MODELS.register_module()
class SeparablePositions(nn.Module):
    """A learned row for the time slot plus a learned row for the place (MAE-ST).

    Args:
        embed_dim: Width C.
        grid: (time, rows, columns).
    """

    def __init__(self, embed_dim: int, grid: Sequence[int]) -> None:
        super().__init__()
        if len(grid) != 3:
            raise ConfigError(f"SeparablePositions: grid must be (time, rows, columns), got {tuple(grid)}")
        self.grid = tuple(grid)
        self.temporal = nn.Parameter(_learned(grid[0], embed_dim))
        self.spatial = nn.Parameter(_learned(grid[1] * grid[2], embed_dim))

    def forward(self, coordinates: Tensor) -> Tensor:
        """Cell indices [..., 3] -> [..., C]."""
        place = F.embedding(flat_index(coordinates[..., 1:], self.grid[1:]), self.spatial[0])
        return place + F.embedding(coordinates[..., 0].long(), self.temporal[0])


def _learned(count: int, dim: int) -> Tensor:
    return nn.init.trunc_normal_(torch.empty(1, count, dim), std=0.02)


def flat_index(coordinates: Tensor, grid: Sequence[int]) -> Tensor:
    """Cell indices [..., n] -> row-major index, int64 [...]."""
    index = coordinates[..., 0].long()
    for axis, size in enumerate(grid[1:], start=1):
        index = index * size + coordinates[..., axis].long()
    return index
