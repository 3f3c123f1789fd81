"""Features on the occupied cells of a grid."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops.sparse_conv import Rulebook


@dataclass(frozen=True)
class SparseTensor:
    """Features on the occupied cells of a batch of equal grids; every other cell is zero.

    Attributes:
        features: [V, C].
        coordinates: [V, 1 + D] int32 (int64 is converted): batch, then the cell along each axis (z, y, x). Any
            order, no cell twice.
        spatial_shape: Cells along each axis, D values: (z, y, x).
        batch_size: Number of grids.
        trusted: The coordinates are known to be inside the grid and distinct, so convolutions do not check again.
        rulebooks: Indice key -> rule book, shared by all tensors that come from this one, so that layers with
            one key build it once and inverse convolutions find it.
        backend_state: What another sparse back end keeps for its own layers.

    Raises:
        OperatorInputError: Shapes or dtypes that do not fit together.
    """

    features: Tensor
    coordinates: Tensor
    spatial_shape: tuple[int, ...]
    batch_size: int
    trusted: bool = False
    rulebooks: dict[str, Rulebook] = field(default_factory=dict, repr=False)
    backend_state: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.spatial_shape)
        wanted = (self.features.shape[0], 1 + len(shape))
        if self.coordinates.dtype not in (torch.int32, torch.int64):
            raise OperatorInputError(
                f"SparseTensor: 'coordinates' must have dtype int32 or int64, got {self.coordinates.dtype}; "
                "call .int() on whole-numbered float coordinates"
            )
        if self.features.dim() != 2 or tuple(self.coordinates.shape) != wanted:
            raise OperatorInputError(
                f"SparseTensor: 'features' must be [V, C] and 'coordinates' [V, {wanted[1]}] (batch and one column "
                f"per axis of {shape}), got {list(self.features.shape)} and {list(self.coordinates.shape)}"
            )
        object.__setattr__(self, "spatial_shape", shape)
        object.__setattr__(self, "coordinates", self.coordinates.to(torch.int32).contiguous())

    @classmethod
    def from_dense(cls, dense: Tensor) -> SparseTensor:
        """The cells of ``dense`` [B, C, *spatial_shape] where any channel is not zero, in ascending order."""
        rows = dense.movedim(1, -1)  # [B, *shape, C]
        occupied = (rows != 0).any(dim=-1)
        return cls(rows[occupied], occupied.nonzero().int(), tuple(dense.shape[2:]), dense.shape[0], trusted=True)

    def dense(self) -> Tensor:
        """[B, C, *spatial_shape] with zeros in empty cells; differentiable.

        Coordinates must be valid: rows outside the grid are an error of indexing, and of repeated cells any wins.
        """
        grid = self.features.new_zeros((self.batch_size, *self.spatial_shape, self.features.shape[1]))
        filled = grid.index_put(tuple(self.coordinates.long().unbind(dim=1)), self.features)
        return filled.movedim(-1, 1).contiguous()

    def replace_features(self, features: Tensor) -> SparseTensor:
        """The same cells with other features [V, C']; rule books stay shared."""
        return replace(self, features=features)

    def to(self, device: torch.device | str) -> SparseTensor:
        """A copy on ``device``; rule books are built anew there."""
        return replace(
            self,
            features=self.features.to(device),
            coordinates=self.coordinates.to(device),
            rulebooks={},
            backend_state={},
        )

    @property
    def device(self) -> torch.device:
        """Where features and coordinates live."""
        return self.features.device

    def __len__(self) -> int:
        """Number of occupied cells V."""
        return self.features.shape[0]
