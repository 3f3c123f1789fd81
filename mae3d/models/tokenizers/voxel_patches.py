"""Sparse voxels to patch tokens, in time linear in the number of voxels (P3P, arXiv 2408.10007, section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.masking.random import lowest_of_each, random_numbers
from mae3d.ops.indexed_linear import indexed_linear
from mae3d.ops.scatter import scatter_reduce
from mae3d.ops.voxelize import voxelize
from mae3d.registry import MODELS
from mae3d.structures import VoxelPatches, number_cells

CellOrder = Literal["little", "big"]


@MODELS.register_module()
class VoxelPatchTokenizer(nn.Module):
    """Clouds in the cube [-1, 1]^3 to tokens of cubic patches of voxels.

    A voxel takes the maximum of each column over its points (so x, y and z may come from different points), and each
    place inside a patch has a matrix of its own. A token is the mean over the patch's occupied voxels of
    ``[xyz, rgb, xyz - m, m]`` times that matrix, m being the mean of their xyz. No bias, no position.

    Args:
        embed_dim: Width D.
        color: Points have r g b after x y z: 12 channels of a voxel, without 9. Clouds without colour pass as grey
            (0 after normalisation) where ``color`` is on.
        cells: Voxels along each axis of the cube.
        patch_size: Voxels along each axis of a patch.
        max_patches: At most this many patches of a cloud become tokens, drawn at random where there are more: anew
            each time in training, always the same in evaluation. None takes all.
        order: Number of a place (x, y, z) inside a patch of side s: "little" x + s y + s^2 z, as published, or "big".

    Raises:
        ConfigError: ``cells`` is no multiple of ``patch_size``, or a size below 1.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        *,
        color: bool = True,
        cells: int = 224,
        patch_size: int = 16,
        max_patches: int | None = 512,
        order: CellOrder = "little",
    ) -> None:
        super().__init__()
        if min(cells, patch_size, 1 if max_patches is None else max_patches) < 1 or cells % patch_size:
            raise ConfigError(
                f"VoxelPatchTokenizer: cells must be a positive multiple of patch_size, max_patches at least 1; got "
                f"cells={cells}, patch_size={patch_size}, max_patches={max_patches}"
            )
        if order not in ("little", "big"):
            raise ConfigError(f'VoxelPatchTokenizer: order must be "little" or "big", got {order!r}')
        self.embed_dim = embed_dim
        self.color = color
        self.channels = 12 if color else 9
        self.cells = cells
        self.patch_size = patch_size
        self.max_patches = max_patches
        self.order = order
        self.weight = nn.Parameter(torch.empty(patch_size**3, self.channels, embed_dim))
        nn.init.xavier_uniform_(self.weight.data.flatten(1))

    def forward(self, points: Tensor, offsets: Tensor, generator: torch.Generator | None = None) -> VoxelPatches:
        """Tokenize a packed batch.

        Args:
            points: [T, 3] or [T, 6]: x y z in [-1, 1] (points outside count to the border cell), r g b of any scale.
                Points with a NaN or infinite coordinate are left out.
            offsets: int64 [B + 1].
            generator: In training, of the draw of patches where a cloud has more than ``max_patches``.

        Raises:
            ConfigError: Another number of columns.
        """
        with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
            rows, cells, voxel_offsets = self._voxels(self._columns(points.float()), offsets)
            keys, token = self._patch_keys(cells, voxel_offsets).unique(return_inverse=True)
            kept = self._draw(keys, len(offsets) - 1, generator)
            if kept is not None:
                keys, token, inside = _renumber(keys, token, kept)
                rows, cells = rows[inside], cells[inside]
            mean = scatter_reduce(rows[:, :3].contiguous(), token, len(keys), "mean")[token]
            voxels = torch.cat((rows, rows[:, :3] - mean, mean), dim=1)
            place = cells % self.patch_size
            side = self.cells // self.patch_size
            bounds = torch.arange(len(offsets), device=keys.device) * side**3
            coordinates = torch.stack((keys // side**2 % side, keys // side % side, keys % side), dim=1).float() / side
        index = number_cells(place, self.patch_size, self.order)
        features = indexed_linear(voxels, self.weight, index, token, len(keys), "mean")
        return VoxelPatches(features, coordinates, torch.searchsorted(keys, bounds), voxels, place, token)

    def _columns(self, points: Tensor) -> Tensor:
        """[T, 6] with colour, else [T, 3]."""
        if points.shape[1] not in (3, 6):
            raise ConfigError(
                f"VoxelPatchTokenizer: points have {points.shape[1]} columns, expected x y z or x y z r g b"
            )
        if not self.color:
            return points[:, :3]
        return points if points.shape[1] == 6 else torch.nn.functional.pad(points, (0, 3))

    def _voxels(self, points: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Columns of the voxels [V, C], their cells [V, 3] and offsets, ascending by (cloud, x, y, z)."""
        scaled = (points[:, :3] + 1) / 2 * self.cells
        limits = (0.0, 0.0, 0.0, *[float(self.cells)] * 3)
        # The operator sorts by its last axis first: turned axes give the order of tokens that is published.
        found = voxelize(scaled.flip(1), (1.0, 1.0, 1.0), limits, offsets=offsets, policy="clamp")
        rows = scatter_reduce(points, found.point_to_voxel, len(found.coordinates), "max")
        return rows, found.coordinates[:, 1:], found.offsets

    def _patch_keys(self, cells: Tensor, offsets: Tensor) -> Tensor:
        """One number for the patch of each voxel, ascending by (cloud, x, y, z)."""
        side = self.cells // self.patch_size
        cloud = torch.repeat_interleave(offsets.diff(), output_size=len(cells))
        x, y, z = (cells // self.patch_size).unbind(dim=1)
        return ((cloud * side + x) * side + y) * side + z

    def _draw(self, keys: Tensor, clouds: int, generator: torch.Generator | None) -> Tensor | None:
        """bool [P]: the patches that become tokens; None where all do."""
        if self.max_patches is None or len(keys) <= self.max_patches:
            return None
        cloud = keys // (self.cells // self.patch_size) ** 3
        counts = torch.bincount(cloud, minlength=clouds)
        if int(counts.max()) <= self.max_patches:
            return None
        if not self.training:
            generator = torch.Generator().manual_seed(0)
        draws = random_numbers((len(keys),), keys.device, generator)
        offsets = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        return lowest_of_each(draws, offsets, torch.full_like(counts, self.max_patches))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return (
            f"{self.channels} -> {self.embed_dim}, {self.cells}^3 cells in patches of {self.patch_size}^3, "
            f"max_patches={self.max_patches}, order={self.order!r}"
        )


def _renumber(keys: Tensor, token: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Keys and tokens of the kept patches alone, and which voxels (rows) lie in them."""
    inside = kept[token].nonzero().squeeze(1)
    return keys[kept], (kept.long().cumsum(0) - 1)[token[inside]], inside
