"""Which voxels of a packed batch an encoder sees and which it must predict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class VoxelMask:
    """A split of the V voxels of a batch into visible and masked ones; counts may differ between samples.

    Attributes:
        visible: int64 [V'], ascending rows of the voxel tensor that the encoder sees.
        masked: int64 [M'], ascending rows that are hidden; V' + M' = V.
        empty: int64 [E, 4] (cloud, z, y, x), cells without points that a decoder is asked about as well; None where
            a method asks about voxels alone.
    """

    visible: Tensor
    masked: Tensor
    empty: Tensor | None = None

    def __post_init__(self) -> None:
        for name, index in (("visible", self.visible), ("masked", self.masked)):
            if index.dim() != 1 or index.dtype != torch.int64:
                raise ValueError(f"VoxelMask.{name} must be int64 [count], got {index.dtype} {list(index.shape)}")
        if self.empty is not None and (self.empty.dim() != 2 or self.empty.shape[1] != 4):
            raise ValueError(f"VoxelMask.empty must be int64 [count, 4], got {list(self.empty.shape)}")

    @classmethod
    def from_bool(cls, masked: Tensor) -> VoxelMask:
        """Mask from bool [V], True where hidden."""
        return cls((~masked).nonzero().squeeze(1), masked.nonzero().squeeze(1))

    @classmethod
    def none(cls, num_voxels: int, device: torch.device | str | None = None) -> VoxelMask:
        """Mask that hides nothing."""
        rows = torch.arange(num_voxels, device=device)
        return cls(rows, rows[:0])

    @property
    def num_visible(self) -> int:
        """V'."""
        return self.visible.shape[0]

    @property
    def num_masked(self) -> int:
        """M'."""
        return self.masked.shape[0]

    @property
    def num_voxels(self) -> int:
        """V = V' + M'."""
        return self.num_visible + self.num_masked

    def gather_visible(self, values: Tensor) -> Tensor:
        """Visible rows of ``values`` [V, ...] -> [V', ...]."""
        return values[self.visible]

    def gather_masked(self, values: Tensor) -> Tensor:
        """Masked rows of ``values`` [V, ...] -> [M', ...]."""
        return values[self.masked]

    def restore(self, visible: Tensor, masked: Tensor) -> Tensor:
        """Inverse of the two gathers: [V', ...] and [M', ...] -> [V, ...] in voxel order; differentiable."""
        order = torch.cat((self.visible, self.masked)).argsort()
        return torch.cat((visible, masked))[order]

    def to_bool(self) -> Tensor:
        """Bool [V], True where hidden."""
        masked = torch.zeros(self.num_voxels, dtype=torch.bool, device=self.masked.device)
        return masked.index_fill(0, self.masked, True)

    def to(self, device: torch.device | str) -> VoxelMask:
        """The same mask on ``device``."""
        empty = None if self.empty is None else self.empty.to(device)
        return VoxelMask(self.visible.to(device), self.masked.to(device), empty)
