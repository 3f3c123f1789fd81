"""Voxelisation: which grid cell each point falls into, dynamic (every point) or hard (capped).

The grid is given by ``voxel_size`` (x, y, z) and ``point_range`` (x_min, y_min, z_min, x_max, y_max, z_max), both in
the units of the points (metres). It has ``round((max - min) / size)`` cells per axis. Pillars are voxels whose
height is the whole z range. Cell index = ``floor((p - min) / size)`` in float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops._checks import check_offsets, check_range, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import voxelize as reference

MAX_AXIS_CELLS = 2**24
"""Cells along one axis that float32 coordinates can still tell apart."""

_POINT_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class Voxelization(NamedTuple):
    """Occupied cells of a batch of clouds and the way from points to them."""

    coordinates: Tensor
    """int64 [V, 4]: (cloud, z, y, x) of each occupied cell."""
    point_to_voxel: Tensor
    """int64 [T] (dense input: [B, N]): row of ``coordinates``; -1 where the point was dropped."""
    counts: Tensor
    """int64 [V]: points per voxel, at least 1."""
    offsets: Tensor
    """int64 [B + 1]: the voxels of cloud b are rows ``offsets[b]`` to ``offsets[b + 1]``."""


class HardVoxelization(NamedTuple):
    """Occupied cells with at most P points each and at most max_voxels cells per cloud."""

    voxels: Tensor
    """float32 [V, P, C]: the first P points of each voxel in input order, zeros behind the last."""
    coordinates: Tensor
    """int64 [V, 4]: (cloud, z, y, x)."""
    counts: Tensor
    """int64 [V]: points kept in the voxel, 1 to P."""
    offsets: Tensor
    """int64 [B + 1]: the voxels of cloud b are rows ``offsets[b]`` to ``offsets[b + 1]``."""
    point_to_slot: Tensor
    """int64 [T] (dense input: [B, N]): row of ``voxels.view(V * P, C)`` that holds the point; -1 where dropped."""


def grid_shape(op: str, voxel_size: Sequence[float], point_range: Sequence[float]) -> tuple[int, int, int]:
    """Cells per axis (x, y, z) of the grid; raises OperatorInputError naming ``op`` where it is impossible."""
    require(len(voxel_size) == 3, f"{op}: 'voxel_size' must be (x, y, z), got {list(voxel_size)}")
    require(
        len(point_range) == 6,
        f"{op}: 'point_range' must be (x_min, y_min, z_min, x_max, y_max, z_max), got {list(point_range)}",
    )
    shape = []
    for axis, size, low, high in zip("xyz", voxel_size, point_range[:3], point_range[3:]):
        if not 0 < size < math.inf:
            raise OperatorInputError(f"{op}: 'voxel_size' must be positive and finite, got {size} on axis {axis}")
        if not -math.inf < low < high < math.inf:
            raise OperatorInputError(f"{op}: 'point_range' must rise on axis {axis}, got {low} to {high}")
        cells = round((high - low) / size)
        if not 1 <= cells <= MAX_AXIS_CELLS:
            raise OperatorInputError(
                f"{op}: the grid must have 1 to 2^24 cells on axis {axis} (float32 coordinates resolve no more), got "
                f"{cells}; change 'voxel_size' {size} or 'point_range' {low} to {high}"
            )
        shape.append(cells)
    return shape[0], shape[1], shape[2]


def _pack(op: str, points: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Float32 rows [T, C] and offsets [B + 1] of a packed or dense input."""
    require(isinstance(points, Tensor), f"{op}: 'points' must be a Tensor, got {type(points).__name__}")
    if points.dim() == 3:
        check_tensor(op, "points", points, (None, None, None), _POINT_DTYPES)
        require(offsets is None, f"{op}: 'offsets' belongs to packed points [T, C]; dense points [B, N, C] have none")
        batch, count, _ = points.shape
        offsets = torch.arange(batch + 1, device=points.device) * count
        points = points.reshape(batch * count, points.shape[2])
    else:
        check_tensor(op, "points", points, (None, None), _POINT_DTYPES)
        if offsets is None:
            offsets = torch.arange(2, device=points.device) * points.shape[0]
        else:
            check_same_device(op, points=points, offsets=offsets)
            check_offsets(op, "offsets", offsets, points.shape[0])
    require(points.shape[1] >= 3, f"{op}: 'points' must have at least 3 columns (x, y, z), got {points.shape[1]}")
    return points.float(), offsets


def _check_keys(op: str, clouds: int, grid: tuple[int, int, int]) -> None:
    require(
        clouds * grid[0] * grid[1] * grid[2] < 2**63,
        f"{op}: {clouds} clouds of {grid[0]} x {grid[1]} x {grid[2]} cells do not fit in 63-bit keys; "
        "use a smaller 'point_range' or a larger 'voxel_size'",
    )


def voxelize(
    points: Tensor,
    voxel_size: Sequence[float],
    point_range: Sequence[float],
    *,
    offsets: Tensor | None = None,
    policy: str = "drop",
    order: str = "sorted",
) -> Voxelization:
    """Dynamic voxelisation: every point inside the grid belongs to a voxel; nothing is capped.

    Args:
        points: [T, C >= 3] packed with ``offsets``, or dense [B, N, C]; columns 0 to 2 are x, y, z. float32; half
            types are cast up. Packed points without ``offsets`` are one cloud.
        voxel_size: (x, y, z).
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max).
        offsets: int64 [B + 1].
        policy: "drop" leaves points outside the grid out; "clamp" moves them to the nearest border cell. Points
            with a NaN or infinite coordinate are always left out.
        order: "sorted" lists voxels ascending by (cloud, z, y, x); "first" by the first point that fell into each.

    Returns:
        :class:`Voxelization`. The number of voxels depends on the values; on CUDA finding it synchronises once, and
        tracing needs ``torch._dynamo.config.capture_dynamic_output_shape_ops = True``.

    Raises:
        OperatorInputError: wrong shape, dtype or device, an impossible grid, or more than 2^63 cells.
    """
    op = "voxelize"
    require(policy in ("drop", "clamp"), f"{op}: 'policy' must be 'drop' or 'clamp', got {policy!r}")
    require(order in ("sorted", "first"), f"{op}: 'order' must be 'sorted' or 'first', got {order!r}")
    grid = grid_shape(op, voxel_size, point_range)
    rows, cloud_offsets = _pack(op, points, offsets)
    _check_keys(op, cloud_offsets.shape[0] - 1, grid)
    low = [float(v) for v in point_range[:3]]
    result = Voxelization(
        *_voxelize(
            rows.detach(),
            cloud_offsets,
            [float(v) for v in voxel_size],
            low,
            list(grid),
            policy == "clamp",
            order == "sorted",
        )
    )
    return result._replace(point_to_voxel=result.point_to_voxel.view(points.shape[:-1]))


def voxelize_hard(
    points: Tensor,
    voxel_size: Sequence[float],
    point_range: Sequence[float],
    *,
    max_points_per_voxel: int,
    max_voxels: int,
    offsets: Tensor | None = None,
) -> HardVoxelization:
    """Hard voxelisation with the first-come rule of SECOND (Yan et al. 2018, sec. 3.1.1) and its descendants.

    Points are taken in input order. A point opens a voxel unless its cloud already has ``max_voxels``; a voxel takes
    its first ``max_points_per_voxel`` points. Other points, and points outside the grid, are dropped. Gradients flow
    from ``voxels`` to ``points``.

    Args:
        points: As in :func:`voxelize`.
        voxel_size: (x, y, z).
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max).
        max_points_per_voxel: P.
        max_voxels: Per cloud.
        offsets: int64 [B + 1].

    Returns:
        :class:`HardVoxelization`, voxels in first-come order.

    Raises:
        OperatorInputError: as :func:`voxelize`, or a cap below 1.
    """
    op = "voxelize_hard"
    check_range(op, "max_points_per_voxel", max_points_per_voxel, 1)
    check_range(op, "max_voxels", max_voxels, 1)
    grid = grid_shape(op, voxel_size, point_range)
    rows, cloud_offsets = _pack(op, points, offsets)
    _check_keys(op, cloud_offsets.shape[0] - 1, grid)
    result = HardVoxelization(
        *_voxelize_hard(
            rows,
            cloud_offsets,
            [float(v) for v in voxel_size],
            [float(v) for v in point_range[:3]],
            list(grid),
            max_points_per_voxel,
            max_voxels,
        )
    )
    return result._replace(point_to_slot=result.point_to_slot.view(points.shape[:-1]))


def _new_count() -> torch.SymInt:
    return torch.library.get_ctx().new_dynamic_size()


def _voxelize_fake(points, offsets, size, low, grid, clamp, sorted):
    voxels = _new_count()
    return (
        offsets.new_empty(voxels, 4),
        offsets.new_empty(points.shape[0]),
        offsets.new_empty(voxels),
        torch.empty_like(offsets, memory_format=torch.contiguous_format),
    )


def _voxelize_hard_fake(points, offsets, size, low, grid, max_points, max_voxels):
    voxels = _new_count()
    return (
        points.new_empty(voxels, max_points, points.shape[1]),
        offsets.new_empty(voxels, 4),
        offsets.new_empty(voxels),
        torch.empty_like(offsets, memory_format=torch.contiguous_format),
        offsets.new_empty(points.shape[0]),
    )


def _hard_setup_context(ctx, inputs, output) -> None:
    ctx.save_for_backward(output[4])
    ctx.mark_non_differentiable(*output[1:])


def _hard_backward(ctx, grad_voxels, *_):
    (slot,) = ctx.saved_tensors
    return _voxelize_hard_backward(grad_voxels, slot), None, None, None, None, None, None


_voxelize_hard_backward = define(
    "voxelize_hard_backward(Tensor grad_voxels, Tensor point_to_slot) -> Tensor",
    reference=reference.voxelize_hard_backward,
    fake=lambda grad_voxels, slot: grad_voxels.new_empty(slot.shape[0], grad_voxels.shape[2]),
)

_voxelize = define(
    "voxelize(Tensor points, Tensor offsets, float[] size, float[] low, int[] grid, bool clamp, bool sorted)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    reference=reference.voxelize,
    fake=_voxelize_fake,
)

_voxelize_hard = define(
    "voxelize_hard(Tensor points, Tensor offsets, float[] size, float[] low, int[] grid, int max_points,"
    " int max_voxels) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    reference=reference.voxelize_hard,
    fake=_voxelize_hard_fake,
    setup_context=_hard_setup_context,
    backward=_hard_backward,
)
