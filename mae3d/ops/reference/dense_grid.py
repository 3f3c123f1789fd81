"""Dense-grid averaging and trilinear reading by index arithmetic; see ``csrc/dense_grid/dense_grid.h``."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def _flat_cells(cells: Tensor, resolution: int) -> Tensor:
    """Flat cell per point, R^3 where ignored: int64 [B, N]."""
    x, y, z = cells.unbind(-1)
    inside = ((cells >= 0) & (cells < resolution)).all(-1)
    return torch.where(inside, (x * resolution + y) * resolution + z, resolution**3)


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def voxel_average(features: Tensor, cells: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Mean per cell and points per cell."""
    batch, _, channels = features.shape
    flat, size = _flat_cells(cells, resolution), resolution**3
    counts = flat.new_zeros(batch, size + 1).scatter_add(1, flat, torch.ones_like(flat))
    sums = _wide(features).new_zeros(batch, channels, size + 1)
    sums = sums.scatter_add(2, flat[:, None].expand(-1, channels, -1), _wide(features).mT)
    grid = (sums / counts.clamp(min=1)[:, None])[..., :size].to(features.dtype)
    shape = (resolution, resolution, resolution)
    return grid.reshape(batch, channels, *shape), counts[:, :size].reshape(batch, *shape)


def voxel_average_backward(grad: Tensor, cells: Tensor, counts: Tensor) -> Tensor:
    """Gradient of the features."""
    resolution = grad.shape[2]
    flat = _flat_cells(cells, resolution)
    share = _wide(grad) / counts.clamp(min=1)[:, None]
    padded = torch.nn.functional.pad(share.flatten(2), (0, 1))  # the extra cell: ignored points
    return padded.gather(2, flat[:, None].expand(-1, grad.shape[1], -1)).mT.to(grad.dtype).contiguous()


def _corners(coordinates: Tensor, resolution: int) -> list[tuple[Tensor, Tensor]]:
    """Flat cell [B, N] and weight [B, N] of the eight corners."""
    unknown = coordinates.isnan().any(-1)
    u = coordinates.nan_to_num(0.0).clamp(0, resolution - 1)
    low = u.long()
    fraction = u - low
    high = torch.where(fraction > 0, low + 1, low)
    corners = []
    for bits in itertools.product((False, True), repeat=3):
        cell, weight = torch.zeros_like(low[..., 0]), torch.ones_like(u[..., 0])
        for axis, is_high in enumerate(bits):
            cell = cell * resolution + (high if is_high else low)[..., axis]
            weight = weight * (fraction if is_high else 1 - fraction)[..., axis]
        corners.append((cell, weight.masked_fill(unknown, 0.0)))
    return corners


def trilinear_devoxelize(grid: Tensor, coordinates: Tensor) -> Tensor:
    """Features [B, N, C] at the coordinates."""
    planes = _wide(grid).flatten(2)
    out = planes.new_zeros(grid.shape[0], grid.shape[1], coordinates.shape[1])
    for cell, weight in _corners(coordinates, grid.shape[2]):
        out = out + weight[:, None] * planes.gather(2, cell[:, None].expand(-1, grid.shape[1], -1))
    return out.mT.to(grid.dtype).contiguous()


def trilinear_devoxelize_backward(grad: Tensor, coordinates: Tensor, resolution: int) -> Tensor:
    """Gradient of the grid."""
    batch, _, channels = grad.shape
    rows = _wide(grad).mT
    out = rows.new_zeros(batch, channels, resolution**3)
    for cell, weight in _corners(coordinates, resolution):
        out = out.scatter_add(2, cell[:, None].expand(-1, channels, -1), weight[:, None] * rows)
    return out.reshape(batch, channels, resolution, resolution, resolution).to(grad.dtype)
