"""Packed attention windows over voxels: which rows meet in a window, and where each sits inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.models.layers.packing import Packing
from mae3d.ops.window import window_attention_layout, window_partition, windows_per_cloud


@dataclass(frozen=True)
class WindowPlan:
    """Rows sorted into windows, shorter windows first, so that windows of equal length lie side by side.

    Attributes:
        order: int64 [T], ``rows[order]`` is the packed input.
        inverse: int64 [T], ``packed[inverse]`` is back in input order.
        packing: The windows as samples of a packed batch.
        cells: int64 [T], in packed order: cell inside the window, (z * window_y + y) * window_x + x.
    """

    order: Tensor
    inverse: Tensor
    packing: Packing
    cells: Tensor


def plan_windows(
    coordinates: Tensor, window: Sequence[int], grid: Sequence[int], batch_size: int, *, shifted: bool
) -> WindowPlan:
    """Sort voxels into the windows of one of the two partitions of :func:`mae3d.ops.window_partition`.

    Args:
        coordinates: int64 [T, 4] (cloud, z, y, x), all inside the grid, in any order.
        window: Window size in voxels (x, y, z).
        grid: Cells of the grid (x, y, z).
        batch_size: Number of clouds.
        shifted: Which partition.
    """
    partition = window_partition(coordinates, window, grid, shifted=shifted)
    layout = window_attention_layout(
        partition.windows, num_windows=max(1, batch_size) * windows_per_cloud(window, grid)
    )
    counts = layout.offsets.diff()
    by_length = torch.repeat_interleave(counts, counts, output_size=len(layout.order)).argsort(stable=True)
    order = layout.order[by_length]
    lengths = counts.sort(stable=True).values
    inverse = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
    sample = torch.repeat_interleave(lengths, output_size=len(order))
    packing = Packing(torch.nn.functional.pad(lengths.cumsum(0), (1, 0)), sample, int(layout.max_length))
    z, y, x = partition.in_window[order].unbind(dim=1)
    return WindowPlan(order, inverse, packing, (z * window[1] + y) * window[0] + x)


class _Permute(torch.autograd.Function):
    """Rows in another order. The gradient is a gather by the inverse, where indexing would scatter and add."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(order, inverse)
        return rows[order]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        order, inverse = ctx.saved_tensors
        return _Permute.apply(grad, inverse, order), None, None


def permute_rows(rows: Tensor, order: Tensor, inverse: Tensor) -> Tensor:
    """``rows[order]`` for a permutation ``order`` [T] whose inverse is known; differentiable."""
    return _Permute.apply(rows, order, inverse)


class WindowPosition(nn.Module):
    """Sine and cosine of the place inside a window, centred, in voxels (SST).

    Channel block of x, then y, then (windows of several layers) z; within a block of L channels, channel j holds the
    sine (even j) or cosine (odd j) of c / T^(2 floor(j / 2) / L). Channels left over are 0.

    Args:
        embed_dim: Channels C.
        window: Window size in voxels (x, y, z).
        temperature: T.
    """

    table: Tensor

    def __init__(self, embed_dim: int, window: Sequence[int], temperature: float = 10000.0) -> None:
        super().__init__()
        self.register_buffer("table", _position_table(embed_dim, window, temperature), persistent=False)

    def forward(self, cells: Tensor) -> Tensor:
        """Cells [T] of :class:`WindowPlan` -> float32 [T, C]."""
        return self.table[cells]


def _position_table(embed_dim: int, window: Sequence[int], temperature: float) -> Tensor:
    axes = [torch.arange(size, dtype=torch.float32) - size / 2 for size in window]
    z, y, x = torch.meshgrid(*reversed(axes), indexing="ij")
    used = [x, y] if window[2] == 1 else [x, y, z]
    length = embed_dim // len(used)
    channel = torch.arange(length)
    frequency = temperature ** (2 * (channel // 2).float() / length)
    phases = torch.stack([axis.flatten() for axis in used], dim=1).unsqueeze(-1) / frequency  # [cells, axes, L]
    waves = torch.where(channel % 2 == 0, phases.sin(), phases.cos()).flatten(1)
    return torch.nn.functional.pad(waves, (0, embed_dim - waves.shape[1]))
