"""Windows over voxels for local attention, as in SST (Fan et al. 2022, sec. 3.2), and their packed layout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops._checks import check_range, check_tensor
from mae3d.ops._library import define
from mae3d.ops.reference import window as reference

MAX_AXIS = 2**24


class WindowPartition(NamedTuple):
    """The window of each voxel and its place inside."""

    windows: Tensor
    """int64 [V]: window identifier, ascending by (cloud, x, y, z) of the window; -1 for voxels outside the grid."""
    in_window: Tensor
    """int64 [V, 3]: (z, y, x) inside the window, 0 <= value < window size; -1 for voxels outside the grid."""


class WindowLayout(NamedTuple):
    """Rows sorted by window: what packed (variable-length) attention needs."""

    order: Tensor
    """int64 [K]: rows sorted by window, ascending within one. ``tokens[order]`` is the packed input."""
    offsets: Tensor
    """int64 [W + 1]: window w owns ``order[offsets[w]:offsets[w + 1]]``."""
    windows: Tensor
    """int64 [W]: identifiers of the windows that hold a row, ascending."""
    inverse: Tensor
    """int64 [V]: place of each row in ``order``, -1 where left out. ``packed[inverse]`` is back in input order."""
    max_length: Tensor
    """int64 []: rows of the fullest window. Always on the CPU, so that ``int()`` of it does not synchronise."""


def windows_per_cloud(window: Sequence[int], grid: Sequence[int]) -> int:
    """Identifiers that one cloud can use: the product of ``ceil(grid / window) + 1`` over the axes."""
    count = 1
    for size, cells in zip(window, grid, strict=True):
        count *= -(-cells // size) + 1
    return count


def window_partition(
    coordinates: Tensor, window: Sequence[int], grid: Sequence[int], *, shifted: bool = False
) -> WindowPartition:
    """Assign voxels to the windows of one of SST's two partitions.

    Coordinates are moved by a whole window (unshifted partition) or half of one, rounded down (``shifted``); then
    window = coordinate // size and place inside = coordinate % size. The z axis is not moved where one window covers
    it. Identifiers are those of SST: ``((cloud * nx + wx) * ny + wy) * nz + wz`` with ``n = ceil(grid / window) + 1``.

    Args:
        coordinates: int64 or int32 [V, 4]: (cloud, z, y, x), e.g. ``Voxelization.coordinates``.
        window: Window size in voxels (x, y, z); (16, 16, 1) for Voxel-MAE's pillars.
        grid: Cells of the voxel grid (x, y, z).
        shifted: Which of the two partitions.

    Returns:
        :class:`WindowPartition`.

    Raises:
        OperatorInputError: wrong shape or dtype, or sizes below 1.
    """
    op = "window_partition"
    check_tensor(op, "coordinates", coordinates, (None, 4), (torch.int64, torch.int32))
    for name, sizes in (("window", window), ("grid", grid)):
        if len(sizes) != 3:
            raise OperatorInputError(f"{op}: '{name}' must be (x, y, z), got {list(sizes)}")
        for size in sizes:
            check_range(op, name, size, 1, MAX_AXIS)
    return WindowPartition(*_window_partition(coordinates.long(), list(window), list(grid), shifted))


def window_attention_layout(windows: Tensor, *, num_windows: int | None = None) -> WindowLayout:
    """Sort rows by window for packed attention.

    Args:
        windows: int64 [V] window identifiers, e.g. ``WindowPartition.windows``; rows with a negative one are left out.
        num_windows: All identifiers are below this (``batch * windows_per_cloud(...)``); rows with others are left
            out. Optional: it shortens the sort on CUDA.

    Returns:
        :class:`WindowLayout`. Its sizes depend on the values; on CUDA finding them synchronises once, and tracing
        needs ``torch._dynamo.config.capture_dynamic_output_shape_ops = True``.

    Raises:
        OperatorInputError: wrong shape or dtype.
    """
    op = "window_attention_layout"
    check_tensor(op, "windows", windows, (None,), (torch.int64,))
    if num_windows is not None:
        check_range(op, "num_windows", num_windows, 1)
    return WindowLayout(*_window_attention_layout(windows, num_windows or 0))


def _layout_fake(windows, bound):
    context = torch.library.get_ctx()
    kept, found = context.new_dynamic_size(), context.new_dynamic_size()
    return (
        windows.new_empty(kept),
        windows.new_empty(found + 1),
        windows.new_empty(found),
        windows.new_empty(windows.shape[0]),
        torch.empty((), dtype=torch.int64, device="cpu"),
    )


_window_partition = define(
    "window_partition(Tensor coordinates, int[] window, int[] grid, bool shifted) -> (Tensor, Tensor)",
    reference=reference.window_partition,
    fake=lambda coordinates, window, grid, shifted: (
        coordinates.new_empty(coordinates.shape[0]),
        coordinates.new_empty(coordinates.shape[0], 3),
    ),
)

_window_attention_layout = define(
    "window_attention_layout(Tensor windows, SymInt bound) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.window_attention_layout,
    fake=_layout_fake,
)
