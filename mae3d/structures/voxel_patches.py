"""Cubic patches of a voxel grid: the tokens of a cloud, and the voxels that each of them stands for."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class VoxelPatches:
    """Patches of a batch, packed: those of cloud b are rows ``offsets[b] : offsets[b + 1]``, ascending by (x, y, z).

    Attributes:
        features: [P, D], the tokens.
        coordinates: float32 [P, 3], lowest corner of each patch as a share of the grid, in [0, 1).
        offsets: int64 [B + 1].
        voxels: float32 [V, C], features of the occupied voxels, clouds in order.
        cells: int64 [V, 3], place of each voxel inside its patch (x, y, z).
        token: int64 [V], the patch of each voxel, a row of ``features``.
    """

    features: Tensor
    coordinates: Tensor
    offsets: Tensor
    voxels: Tensor
    cells: Tensor
    token: Tensor

    def __len__(self) -> int:
        """Number of patches P."""
        return self.coordinates.shape[0]

    @property
    def batch_size(self) -> int:
        """B."""
        return self.offsets.shape[0] - 1

    @property
    def cloud(self) -> Tensor:
        """int64 [P], the cloud of each patch."""
        return torch.repeat_interleave(self.offsets.diff(), output_size=len(self))

    def to(self, device: torch.device | str) -> VoxelPatches:
        """The same patches on ``device``."""
        return VoxelPatches(*(getattr(self, field.name).to(device) for field in fields(self)))


def number_cells(cells: Tensor, side: int, order: str) -> Tensor:
    """One number for each cell (x, y, z) [V, 3] of a cube: "little" is x + s y + s^2 z, "big" s^2 x + s y + z."""
    x, y, z = cells.unbind(dim=1)
    return x + side * (y + side * z) if order == "little" else (x * side + y) * side + z
