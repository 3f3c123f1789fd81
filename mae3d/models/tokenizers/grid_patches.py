"""A cloud in a dense voxel grid, cut into cubic patches, and back to the points (DiT-3D, arXiv 2307.01831)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError, DataError
from mae3d.models.layers.grid_positions import sincos_table
from mae3d.models.tokenizers.patches import unpatchify
from mae3d.ops import grid_coordinates, trilinear_devoxelize, voxel_average
from mae3d.registry import MODELS


@dataclass(frozen=True)
class GridPatches:
    """Patches of a batch of clouds; N = (R / p)^3 patches, x slowest, z fastest.

    Attributes:
        content: [B, N, 3 p^3]: channel, then x, y, z inside the patch; 0 in empty voxels.
        occupied: bool [B, N]: some voxel of the patch holds a point.
        coordinates: float32 [B, P, 3]: place of each point in the grid, in voxels.
        owner: int64 [B, P]: the patch that holds each point's voxel.
    """

    content: Tensor
    occupied: Tensor
    coordinates: Tensor
    owner: Tensor

    def __len__(self) -> int:
        """Patches of the whole batch, B N."""
        return self.occupied.numel()


@MODELS.register_module()
class GridPatchTokenizer(nn.Module):
    """Voxel means of the points' own coordinates, patches of p^3 voxels, one linear layer, fixed positions.

    Args:
        resolution: Voxels R along each axis.
        patch_size: Voxels p of a patch along each axis; divides R.
        embed_dim: Width C of a token; a multiple of 6, for sines and cosines of three axes.
    """

    position: Tensor

    def __init__(self, resolution: int = 32, patch_size: int = 4, embed_dim: int = 384) -> None:
        super().__init__()
        if patch_size < 1 or resolution < 1 or resolution % patch_size:
            raise ConfigError(
                f"GridPatchTokenizer: resolution must be a multiple of patch_size, got {resolution} and {patch_size}; "
                "published are 32, 64 and 128 with patches of 2, 4 and 8"
            )
        self.resolution = resolution
        self.patch_size = patch_size
        self.grid = resolution // patch_size
        self.projection = nn.Conv3d(3, embed_dim, patch_size, patch_size)
        nn.init.xavier_uniform_(self.projection.weight.flatten(1))
        nn.init.zeros_(self.projection.bias)
        self.register_buffer("position", sincos_table((self.grid,) * 3, embed_dim, last_first=False)[None])

    @property
    def num_tokens(self) -> int:
        """N."""
        return self.grid**3

    def forward(self, points: Tensor) -> GridPatches:
        """Clouds [B, P, 3] -> their patches.

        Raises:
            DataError: Another shape, or clouds without points.
        """
        if points.dim() != 3 or points.shape[2] != 3 or points.shape[1] == 0:
            raise DataError(f"points must be [B, P, 3] with at least one point in each cloud, got {list(points.shape)}")
        coordinates = grid_coordinates(points, self.resolution)
        cells = coordinates.round().long()
        voxels = voxel_average(points.float(), cells, self.resolution)
        x, y, z = (cells // self.patch_size).unbind(dim=-1)
        return GridPatches(
            self.patchify(voxels.grid),
            self.patchify(voxels.counts.unsqueeze(1)).any(dim=-1),
            coordinates,
            (x * self.grid + y) * self.grid + z,
        )

    def embed(self, content: Tensor) -> Tensor:
        """Patches [..., 3 p^3] -> tokens [..., C], without positions."""
        return F.linear(content, self.projection.weight.flatten(1), self.projection.bias)

    def patchify(self, grid: Tensor) -> Tensor:
        """Grids [B, c, R, R, R] -> [B, N, c p^3]."""
        g, p = self.grid, self.patch_size
        split = grid.unflatten(4, (g, p)).unflatten(3, (g, p)).unflatten(2, (g, p))  # [B, c, g, p, g, p, g, p]
        return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(len(grid), g**3, -1)

    def to_points(self, patches: Tensor, coordinates: Tensor) -> Tensor:
        """Predicted patches [B, N, p^3 3] (x, y, z inside, then channel) -> values at the points [B, P, 3]."""
        grid = unpatchify(patches, (self.grid,) * 3, (self.patch_size,) * 3)
        return trilinear_devoxelize(grid.float().contiguous(), coordinates)
