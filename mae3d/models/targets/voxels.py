"""What hangs on a masked voxel: its points in units of the voxel, and how many there are."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mae3d.models.layers.grouping import within_limit
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask, Voxels


class VoxelPoints(NamedTuple):
    """Points of M voxels, packed.

    Attributes:
        points: float32 [P, 3], offset from the voxel's centre in half voxels: each axis in [-1, 1].
        offsets: int64 [M + 1], rows of each voxel.
    """

    points: Tensor
    offsets: Tensor


@MODELS.register_module()
class VoxelPointTarget(nn.Module):
    """Points of each masked voxel.

    Args:
        max_points: Voxels with more keep a random subset of this size.
    """

    def __init__(self, max_points: int = 100) -> None:
        super().__init__()
        self.max_points = max_points

    @torch.no_grad()
    def forward(
        self, points: Tensor, voxels: Voxels, mask: VoxelMask, generator: torch.Generator | None = None
    ) -> VoxelPoints:
        """Target from the packed points [T, 3 or more] that ``voxels`` were made of."""
        place = torch.full((len(voxels) + 1,), -1, device=voxels.device)  # the last entry serves points outside
        place[mask.masked] = torch.arange(mask.num_masked, device=voxels.device)
        owner = place[voxels.point_to_voxel]  # [T], row of the masked voxel or -1
        rows = (owner >= 0).nonzero().squeeze(1)
        rows = rows[within_limit(owner[rows], self.max_points, generator)]
        rows = rows[owner[rows].argsort(stable=True)]
        owner = owner[rows]
        centers = voxels.grid.centers(voxels.coordinates[mask.masked])
        half = centers.new_tensor(voxels.grid.voxel_size) / 2
        relative = (points[rows, :3].float() - centers[owner]) / half
        counts = torch.zeros(mask.num_masked, dtype=torch.int64, device=voxels.device)
        counts.index_add_(0, owner, torch.ones_like(owner))
        return VoxelPoints(relative, nn.functional.pad(counts.cumsum(0), (1, 0)))
