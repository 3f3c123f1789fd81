"""Voxelisation by ``torch.unique`` on packed keys; see ``csrc/voxelize/voxelize.h`` for the contract."""

from __future__ import annotations

import torch
from torch import Tensor


def cell_keys(
    points: Tensor, offsets: Tensor, size: list[float], low: list[float], grid: list[int], clamp: bool
) -> Tensor:
    """Key of each point's cell, ((cloud * z + iz) * y + iy) * x + ix, or -1: int64 [T]."""
    xyz = points[:, :3]
    shape = torch.tensor(grid, device=points.device)
    index = ((xyz - points.new_tensor(low)) / points.new_tensor(size)).floor()  # [T, 3]
    if clamp:
        index = index.clamp(min=0).minimum((shape - 1).to(index))
    kept = xyz.isfinite().all(1) & (index >= 0).all(1) & (index < shape.to(index)).all(1)
    x, y, z = torch.where(kept[:, None], index, 0).long().unbind(1)
    rows = torch.arange(len(points), device=points.device)
    cloud = torch.searchsorted(offsets[1:].contiguous(), rows, right=True)
    return torch.where(kept, ((cloud * grid[2] + z) * grid[1] + y) * grid[0] + x, -1)


def decode(keys: Tensor, grid: list[int]) -> Tensor:
    """Keys -> (cloud, z, y, x): int64 [V, 4]."""
    x = keys % grid[0]
    rest = keys // grid[0]
    y = rest % grid[1]
    rest = rest // grid[1]
    return torch.stack((rest // grid[2], rest % grid[2], y, x), dim=1)


def voxelize(
    points: Tensor, offsets: Tensor, size: list[float], low: list[float], grid: list[int], clamp: bool, sorted: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Dynamic voxelisation."""
    keys = cell_keys(points, offsets, size, low, grid, clamp)
    kept = (keys >= 0).nonzero().squeeze(1)
    unique, inverse, counts = keys[kept].unique(return_inverse=True, return_counts=True)
    if not sorted:
        first = kept.new_zeros(len(unique)).scatter_reduce(0, inverse, kept, "amin", include_self=False)
        order = first.argsort()
        rank = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
        unique, counts, inverse = unique[order], counts[order], rank[inverse]
    coordinates = decode(unique, grid)
    point_to_voxel = torch.full_like(keys, -1).index_copy(0, kept, inverse)
    clouds = torch.arange(len(offsets), device=offsets.device)
    return coordinates, point_to_voxel, counts, torch.searchsorted(coordinates[:, 0].contiguous(), clouds)


def voxelize_hard(
    points: Tensor,
    offsets: Tensor,
    size: list[float],
    low: list[float],
    grid: list[int],
    max_points: int,
    max_voxels: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """First-come voxelisation with caps."""
    coordinates, to_voxel, counts, starts = voxelize(points, offsets, size, low, grid, False, False)
    number = torch.arange(len(coordinates), device=points.device) - starts[coordinates[:, 0]]
    kept = number < max_voxels
    renumbered = torch.where(kept, kept.cumsum(0) - 1, -1)
    # Rank of each point among the earlier points of its voxel: its place in a stable sort minus the group's start.
    order = to_voxel.argsort(stable=True)
    dropped = (to_voxel < 0).sum()
    begin = torch.cat((dropped[None], dropped + counts.cumsum(0)))
    place = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
    rank = place - begin[to_voxel.clamp(min=0)]
    padded = torch.cat((renumbered, renumbered.new_full((1,), -1)))  # entry -1: dropped points
    voxel = padded[to_voxel]
    slot = torch.where((voxel >= 0) & (rank < max_points), voxel * max_points + rank, -1)

    total = int(kept.sum())
    filled = (slot >= 0).nonzero().squeeze(1)
    voxels = points.new_zeros(total * max_points, points.shape[1]).index_copy(0, slot[filled], points[filled])
    new_starts = torch.cat((starts.new_zeros(1), (starts[1:] - starts[:-1]).clamp(max=max_voxels).cumsum(0)))
    return (
        voxels.view(total, max_points, points.shape[1]),
        coordinates[kept],
        counts[kept].clamp(max=max_points),
        new_starts,
        slot,
    )


def voxelize_hard_backward(grad_voxels: Tensor, point_to_slot: Tensor) -> Tensor:
    """Gradient of the points: that of their slot, zero where dropped."""
    grad = grad_voxels.new_zeros(len(point_to_slot), grad_voxels.shape[2])
    kept = point_to_slot >= 0
    grad[kept] = grad_voxels.flatten(0, 1)[point_to_slot[kept]]
    return grad
