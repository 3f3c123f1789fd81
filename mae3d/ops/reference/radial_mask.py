"""Radial grouping and selection in float64 torch; see ``csrc/radial_mask/radial_mask.h`` for the contract."""

from __future__ import annotations

import math

import torch
from torch import Tensor

ON_BOUNDARY = 1e-9


def radial_groups(
    coordinates: Tensor,
    scale: list[float],
    origin: list[float],
    from_y: bool,
    sector_degrees: float,
    bands: list[float],
    clouds: int,
    shared: bool,
) -> tuple[Tensor, Tensor]:
    """Group (cloud, sector, band) of each voxel and voxels per group."""
    sectors = math.ceil(360 / sector_degrees)
    x = coordinates[:, 3].double() * scale[0] + origin[0]
    y = coordinates[:, 2].double() * scale[1] + origin[1]
    degrees = torch.atan2(*((x, y) if from_y else (y, x))).rad2deg()
    sector = (((degrees % 360) + ON_BOUNDARY) % 360).div(sector_degrees, rounding_mode="floor").long()
    near, middle = (band * band if band >= 0 else -1.0 for band in bands)
    squared = x * x + y * y
    band = torch.where(squared <= near, 0, torch.where(squared <= middle, 1, 2))
    cloud = coordinates[:, 0]
    known = (cloud >= 0) & (cloud < clouds)
    group = ((0 if shared else cloud) * sectors + sector.clamp(max=sectors - 1)) * 3 + band
    total = (1 if shared else clouds) * sectors * 3
    return torch.where(known, group, -1), torch.bincount(group[known], minlength=total)


def radial_select(groups: Tensor, quota: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of the ``quota[group]`` lowest scores of each group, and the other rows."""
    known = (groups >= 0) & (groups < len(quota))
    own = torch.where(known, groups, len(quota))
    limit = torch.cat((quota, quota.new_zeros(1)))[own]
    if len(scores) == 0:
        kept = limit > 0
    else:
        order = scores.argsort(stable=True)
        order = order[own[order].argsort(stable=True)]  # by group, then score, then row
        place = torch.empty_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
        counts = torch.bincount(own, minlength=len(quota) + 1)
        kept = place - (counts.cumsum(0) - counts)[own] < limit
    return kept.nonzero().squeeze(1), (~kept).nonzero().squeeze(1)
