"""Point features to a dense cubic grid and back: the two point-voxel operators of PVCNN (Liu et al. 2019, sec. 4.1).

Grids are [B, C, R, R, R] with axes x, y, z. Coordinates count cells: 0 is the centre of the first cell, R - 1 that of
the last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.ops._checks import check_range, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import dense_grid as reference

MAX_RESOLUTION = 1024

_COORDINATE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


class VoxelAverage(NamedTuple):
    """Point features averaged per cell of a dense grid."""

    grid: Tensor
    """[B, C, R, R, R], axes x, y, z: mean of the features in each cell, 0 where empty; dtype of the features."""
    counts: Tensor
    """int64 [B, R, R, R]: points per cell."""


def grid_coordinates(points: Tensor, resolution: int, *, normalize: bool = True, eps: float = 0.0) -> Tensor:
    """Place clouds in their grid: continuous cell coordinates in [0, R - 1].

    With ``normalize`` each cloud is centred on its mean and scaled by its largest distance from it, as PVCNN and
    DiT-3D do: ``u = (p - mean) / (2 max|p - mean| + eps) + 1/2``; without, points in [-1, 1] map by ``(p + 1) / 2``.
    Then ``clamp(u * R, 0, R - 1)``. The cell of a point is ``coordinates.round()`` (half to even). Detached.

    Args:
        points: [B, N, 3].
        resolution: R.
        normalize: See above.
        eps: Added to the scale. A cloud of equal points lands in the middle whatever ``eps``.

    Returns:
        float32 [B, N, 3].
    """
    op = "grid_coordinates"
    check_tensor(op, "points", points, (None, None, 3))
    check_range(op, "resolution", resolution, 1, MAX_RESOLUTION)
    xyz = points.detach().float()
    if normalize:
        centred = xyz - xyz.mean(dim=1, keepdim=True)
        reach = centred.norm(dim=2, keepdim=True)  # [B, N, 1]
        scale = 2 * reach.amax(dim=1, keepdim=True) + eps if points.shape[1] else reach.sum(dim=1, keepdim=True)
        unit = centred / torch.where(scale > 0, scale, 1) + 0.5
    else:
        unit = (xyz + 1) / 2
    return (unit * resolution).clamp(0, resolution - 1)


def voxel_average(features: Tensor, cells: Tensor, resolution: int) -> VoxelAverage:
    """Average point features per cell of a dense grid; differentiable in ``features``.

    Args:
        features: [B, N, C], floating point; half types accumulate in float32.
        cells: int64 [B, N, 3]: cell indices (x, y, z), e.g. ``grid_coordinates(...).round().long()``. A point with
            an index outside [0, R) is ignored.
        resolution: R, at most 1024.

    Returns:
        :class:`VoxelAverage`.

    Raises:
        OperatorInputError: wrong shape, dtype, device or resolution.
    """
    op = "voxel_average"
    check_tensor(op, "features", features, (None, None, None))
    require(features.is_floating_point(), f"{op}: 'features' must be floating point, got {features.dtype}")
    check_tensor(op, "cells", cells, (features.shape[0], features.shape[1], 3), (torch.int64,))
    check_same_device(op, features=features, cells=cells)
    check_range(op, "resolution", resolution, 1, MAX_RESOLUTION)
    return VoxelAverage(*_voxel_average(features, cells, resolution))


def trilinear_devoxelize(grid: Tensor, coordinates: Tensor) -> Tensor:
    """Read a dense grid at continuous coordinates; differentiable in ``grid``, not in ``coordinates``.

    The corners are ``floor(u)`` and, where the fraction is positive, the next cell. Coordinates are clamped to
    [0, R - 1]; a point with a NaN coordinate reads 0.

    Args:
        grid: [B, C, R, R, R], floating point, axes x, y, z; R at most 1024.
        coordinates: [B, N, 3] in cells, e.g. of :func:`grid_coordinates`; float32, half types are cast up.

    Returns:
        [B, N, C] in the dtype of ``grid``.

    Raises:
        OperatorInputError: wrong shape, dtype or device.
    """
    op = "trilinear_devoxelize"
    check_tensor(op, "grid", grid, (None,) * 5)
    require(grid.is_floating_point(), f"{op}: 'grid' must be floating point, got {grid.dtype}")
    resolution = grid.shape[2]
    require(grid.shape[3] == resolution == grid.shape[4], f"{op}: 'grid' must be cubic, got {list(grid.shape)}")
    check_range(op, "resolution", resolution, 1, MAX_RESOLUTION)
    check_tensor(op, "coordinates", coordinates, (grid.shape[0], None, 3), _COORDINATE_DTYPES)
    check_same_device(op, grid=grid, coordinates=coordinates)
    return _trilinear_devoxelize(grid, coordinates.detach().float())


def _average_fake(features, cells, resolution):
    shape = (resolution, resolution, resolution)
    batch, _, channels = features.shape
    return features.new_empty(batch, channels, *shape), cells.new_empty(batch, *shape)


def _average_setup_context(ctx, inputs, output) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(inputs[1], output[1])


def _average_backward(ctx, grad, _):
    cells, counts = ctx.saved_tensors
    return _voxel_average_backward(grad, cells, counts), None, None


def _devoxelize_setup_context(ctx, inputs, output) -> None:
    ctx.resolution = inputs[0].shape[2]
    ctx.save_for_backward(inputs[1])


def _devoxelize_backward(ctx, grad):
    return _trilinear_devoxelize_backward(grad, *ctx.saved_tensors, ctx.resolution), None


_voxel_average_backward = define(
    "voxel_average_backward(Tensor grad, Tensor cells, Tensor counts) -> Tensor",
    reference=reference.voxel_average_backward,
    fake=lambda grad, cells, counts: grad.new_empty(*cells.shape[:2], grad.shape[1]),
)

_voxel_average = define(
    "voxel_average(Tensor features, Tensor cells, SymInt resolution) -> (Tensor, Tensor)",
    reference=reference.voxel_average,
    fake=_average_fake,
    setup_context=_average_setup_context,
    backward=_average_backward,
)

_trilinear_devoxelize_backward = define(
    "trilinear_devoxelize_backward(Tensor grad, Tensor coordinates, SymInt resolution) -> Tensor",
    reference=reference.trilinear_devoxelize_backward,
    fake=lambda grad, coordinates, r: grad.new_empty(grad.shape[0], grad.shape[2], r, r, r),
)

_trilinear_devoxelize = define(
    "trilinear_devoxelize(Tensor grid, Tensor coordinates) -> Tensor",
    reference=reference.trilinear_devoxelize,
    fake=lambda grid, coordinates: grid.new_empty(*coordinates.shape[:2], grid.shape[1]),
    setup_context=_devoxelize_setup_context,
    backward=_devoxelize_backward,
)
