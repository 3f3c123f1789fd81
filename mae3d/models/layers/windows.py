"""Packed attention windows over voxels: which rows meet in a window, and where each sits inside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.models.layers.packing import JointPacking, Packing
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
    return WindowPlan(order, inverse, packing, _cells(partition.in_window[order], window))


@dataclass(frozen=True)
class JointWindows:
    """The windows in which both of two sets of voxels have a row.

    Attributes:
        query_rows: int64 [Tq], rows of the first set in those windows, window by window.
        key_rows: int64 [Tk], rows of the second.
        packing: Layout of both.
        query_cells: int64 [Tq], cell inside the window as in :class:`WindowPlan`.
        key_cells: int64 [Tk].
    """

    query_rows: Tensor
    key_rows: Tensor
    packing: JointPacking
    query_cells: Tensor
    key_cells: Tensor


def plan_joint_windows(
    query: Tensor, key: Tensor, window: Sequence[int], grid: Sequence[int], *, shifted: bool
) -> JointWindows:
    """Windows that hold voxels of both sets, one partition of space for both (T-MAE).

    Args:
        query: int64 [T, 4] (cloud, z, y, x), all inside the grid, in any order.
        key: The same of the other set.
        window: Window size in voxels (x, y, z).
        grid: Cells of the grid (x, y, z).
        shifted: Which partition.
    """
    partitions = [window_partition(rows, window, grid, shifted=shifted) for rows in (query, key)]
    layouts = [window_attention_layout(partition.windows) for partition in partitions]
    counts = [layout.offsets.diff() for layout in layouts]
    shared = [torch.isin(a.windows, b.windows, assume_unique=True) for a, b in (layouts, layouts[::-1])]
    both = [count[keep] for count, keep in zip(counts, shared)]
    order = JointPacking.bucket(*both).argsort(stable=True)
    rank = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order), device=order.device))
    rows, sides, cells = [], [], []
    for layout, partition, count, keep, own in zip(layouts, partitions, counts, shared, both):
        place = torch.full_like(count, -1).masked_scatter_(keep, rank)  # window -> its place among the shared ones
        of_row = torch.repeat_interleave(place, count, output_size=len(layout.order))
        kept = (of_row >= 0).nonzero().squeeze(1)
        chosen = layout.order[kept[of_row[kept].argsort(stable=True)]]
        lengths = own[order]
        offsets = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        sample = torch.repeat_interleave(lengths, output_size=len(chosen))
        sides.append(Packing(offsets, sample, int(layout.max_length)))
        rows.append(chosen)
        cells.append(_cells(partition.in_window[chosen], window))
    return JointWindows(*rows, JointPacking(*sides), *cells)


def _cells(in_window: Tensor, window: Sequence[int]) -> Tensor:
    z, y, x = in_window.unbind(dim=1)
    return (z * window[1] + y) * window[0] + x


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
