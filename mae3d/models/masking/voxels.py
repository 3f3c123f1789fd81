"""Masking of voxels in packed batches, and empty cells that a decoder is asked about."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.masking.random import check_ratio, lowest_of_each, random_numbers
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask, Voxels


@MODELS.register_module()
class VoxelMasking(nn.Module):
    """Hides voxels at random and names empty cells to ask about.

    Args:
        ratio: Share of hidden voxels.
        count: "bernoulli": every voxel of the batch is hidden with probability ``ratio``, as Voxel-MAE does, so counts
            vary and a small cloud may lose all of its voxels. "exact": int(ratio * n) of a cloud's n voxels. "kept":
            all but int((1 - ratio) * n), as GD-MAE and T-MAE do; a cloud of fewer than 1 / (1 - ratio) loses all.
        empty_ratio: int(empty_ratio * n) empty cells are drawn for a cloud of n voxels, uniformly, none twice (fewer
            where the grid has fewer); 0 draws none and leaves ``VoxelMask.empty`` at None.
    """

    def __init__(
        self, ratio: float = 0.7, count: Literal["bernoulli", "exact", "kept"] = "bernoulli", empty_ratio: float = 0.0
    ) -> None:
        super().__init__()
        if count not in ("bernoulli", "exact", "kept"):
            raise ConfigError(f'VoxelMasking: count must be "bernoulli", "exact" or "kept", got {count!r}')
        if not empty_ratio >= 0.0:
            raise ConfigError(f"VoxelMasking: empty_ratio must be at least 0, got {empty_ratio}")
        self.ratio = check_ratio(ratio)
        self.count = count
        self.empty_ratio = empty_ratio

    def forward(self, voxels: Voxels, generator: torch.Generator | None = None) -> VoxelMask:
        """Draw a mask; randomness from ``generator`` or the global RNG of the device."""
        draws = random_numbers((len(voxels),), voxels.device, generator)
        if self.count == "bernoulli":
            masked = draws < self.ratio
        elif self.count == "exact":
            masked = lowest_share(draws, voxels.offsets, self.ratio)
        else:
            masked = ~lowest_share(draws, voxels.offsets, 1 - self.ratio)
        split = VoxelMask.from_bool(masked)
        if not self.empty_ratio:
            return split
        return VoxelMask(split.visible, split.masked, draw_empty_cells(voxels, self.empty_ratio, generator))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}, count={self.count!r}, empty_ratio={self.empty_ratio}"


def lowest_share(draws: Tensor, offsets: Tensor, ratio: float) -> Tensor:
    """Bool [V]: the int(ratio * n) lowest of the n numbers of every cloud; ``draws`` [V], ``offsets`` int64 [B + 1]."""
    return lowest_of_each(draws, offsets, (ratio * offsets.diff().double()).long())


def draw_empty_cells(voxels: Voxels, ratio: float, generator: torch.Generator | None = None) -> Tensor:
    """Cells without points, int64 [E, 4] (cloud, z, y, x): int(ratio * n) for a cloud of n voxels, none twice."""
    keys = voxels.grid.keys(voxels.coordinates)
    device = voxels.device if generator is None else generator.device
    cells, found = voxels.grid.num_cells, []
    limits = voxels.offsets.tolist()
    for cloud, (start, stop) in enumerate(pairwise(limits)):
        free = cells - (stop - start)
        wanted = min(int(ratio * (stop - start)), free)
        ranks = torch.randperm(free, generator=generator, device=device)[:wanted].to(voxels.device)
        found.append(cloud * cells + nth_free(keys[start:stop] - cloud * cells, ranks))
    return voxels.grid.coordinates(torch.cat(found) if found else keys[:0])


def nth_free(occupied: Tensor, ranks: Tensor) -> Tensor:
    """The ``ranks``-th numbers (from 0) that are not among ``occupied``; int64, ``occupied`` ascending."""
    free_before = occupied - torch.arange(len(occupied), device=occupied.device)
    return ranks + torch.searchsorted(free_before, ranks, right=True)
