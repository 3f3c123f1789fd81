"""From tokens of voxel patches to the features and the occupancy of their cells."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.models.layers import initialize
from mae3d.ops.gather_points import gather_rows
from mae3d.ops.indexed_linear import indexed_project


class VoxelPatchHeads(nn.Module):
    """Linear layers from a token to the features and the occupancy of each of its cells.

    Args:
        embed_dim: Width of the decoder.
        cells: Cells K of a patch.
        channels: Features C of a voxel.
    """

    def __init__(self, embed_dim: int, cells: int, channels: int) -> None:
        super().__init__()
        self.cells, self.channels = cells, channels
        self.voxels = nn.Linear(embed_dim, cells * channels)
        self.occupancy = nn.Linear(embed_dim, cells * 2)
        initialize(self, "xavier_uniform")

    def predict_voxels(self, features: Tensor, token: Tensor, cell: Tensor) -> Tensor:
        """[V, C] from tokens [P, D]: the block of C outputs that belongs to each voxel's cell."""
        weight = self.voxels.weight.unflatten(0, (self.cells, self.channels))
        bias = gather_rows(self.voxels.bias.unflatten(0, (self.cells, self.channels)), cell)
        return indexed_project(features, weight, cell, token) + bias

    def predict_occupancy(self, features: Tensor) -> Tensor:
        """Logit of "occupied" less that of "empty", [P, K]: one layer with the difference of the two classes."""
        weight = self.occupancy.weight.unflatten(0, (self.cells, 2))
        bias = self.occupancy.bias.unflatten(0, (self.cells, 2))
        return nn.functional.linear(features, weight[:, 1] - weight[:, 0], bias[:, 1] - bias[:, 0])
