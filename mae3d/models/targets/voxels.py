"""What hangs on a masked voxel: its points from its centre, and how many there are."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers.grouping import within_limit
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask, Voxels


class VoxelPoints(NamedTuple):
    """Points of M voxels, packed.

    Attributes:
        points: float32 [P, 3], offset from the voxel's centre, in half voxels (each axis in [-1, 1]) or metres.
        offsets: int64 [M + 1], rows of each voxel.
    """

    points: Tensor
    offsets: Tensor


@MODELS.register_module()
class VoxelPointTarget(nn.Module):
    """Points of each masked voxel.

    Args:
        max_points: Voxels with more keep a random subset of this size.
        unit: "half_voxel" (Voxel-MAE) or "metre" (GD-MAE, T-MAE).
        select: "random" takes a random subset, every point once. "arrival" is what GD-MAE and T-MAE publish: the first
            ``max_points`` points in the order of the input (there the order in which GPU threads arrive), and where
            there are fewer, these repeated in turn to fill ``max_points`` slots, so that a mean over slots weighs the
            first ones more. Of three points in 64 slots they count 22, 21 and 21 times.
    """

    def __init__(
        self,
        max_points: int = 100,
        unit: Literal["half_voxel", "metre"] = "half_voxel",
        select: Literal["random", "arrival"] = "random",
    ) -> None:
        super().__init__()
        if unit not in ("half_voxel", "metre") or select not in ("random", "arrival"):
            raise ConfigError(
                'VoxelPointTarget: unit must be "half_voxel" or "metre", select "random" or "arrival", got '
                f"{unit!r}, {select!r}"
            )
        self.max_points = max_points
        self.unit = unit
        self.select = select

    @torch.no_grad()
    def forward(
        self, points: Tensor, voxels: Voxels, mask: VoxelMask, generator: torch.Generator | None = None
    ) -> VoxelPoints:
        """Target from the packed points [T, 3 or more] that ``voxels`` were made of."""
        place = torch.full((len(voxels) + 1,), -1, device=voxels.device)  # the last entry serves points outside
        place[mask.masked] = torch.arange(mask.num_masked, device=voxels.device)
        owner = place[voxels.point_to_voxel]  # [T], row of the masked voxel or -1
        rows = (owner >= 0).nonzero().squeeze(1)
        if self.select == "random":
            rows = rows[within_limit(owner[rows], self.max_points, generator)]
        rows = rows[owner[rows].argsort(stable=True)]
        counts = torch.zeros(mask.num_masked, dtype=torch.int64, device=voxels.device)
        counts.index_add_(0, owner[rows], torch.ones_like(rows))
        if self.select == "arrival":
            rows, counts = _fill(rows, counts, self.max_points)
        owner = owner[rows]
        relative = points[rows, :3].float() - voxels.grid.centers(voxels.coordinates[mask.masked])[owner]
        if self.unit == "half_voxel":
            relative = relative / (relative.new_tensor(voxels.grid.voxel_size) / 2)
        return VoxelPoints(relative, nn.functional.pad(counts.cumsum(0), (1, 0)))


def _fill(rows: Tensor, counts: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """Slot i of a voxel with n points (``rows``, voxel by voxel) takes its point i mod n."""
    starts = counts.cumsum(0) - counts
    turn = torch.arange(slots, device=rows.device) % counts.clamp(min=1).unsqueeze(1)  # [M, slots]
    return rows[(starts.unsqueeze(1) + turn).flatten()], torch.full_like(counts, slots)
