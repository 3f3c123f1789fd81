"""Voxels of a batch of point clouds: the grid, the occupied cells, and the way from points to them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mae3d.ops.voxelize import grid_shape, voxelize


@dataclass(frozen=True)
class VoxelGrid:
    """A regular grid in the frame of the points.

    Attributes:
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        voxel_size: (x, y, z), metres. Pillars are voxels as high as the range.

    Raises:
        OperatorInputError: An impossible grid.
    """

    point_range: tuple[float, ...]
    voxel_size: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "point_range", tuple(float(value) for value in self.point_range))
        object.__setattr__(self, "voxel_size", tuple(float(value) for value in self.voxel_size))
        grid_shape("VoxelGrid", self.voxel_size, self.point_range)

    @property
    def grid_size(self) -> tuple[int, int, int]:
        """Cells along (x, y, z)."""
        return grid_shape("VoxelGrid", self.voxel_size, self.point_range)

    @property
    def num_cells(self) -> int:
        """Cells of the grid of one cloud."""
        x, y, z = self.grid_size
        return x * y * z

    def centers(self, coordinates: Tensor) -> Tensor:
        """Centres [V, 3] float32 (x, y, z, metres) of cells ``coordinates`` [V, 4] (cloud, z, y, x)."""
        cells = coordinates[:, 1:].flip(1).float()
        size = cells.new_tensor(self.voxel_size)
        return cells * size + size / 2 + cells.new_tensor(self.point_range[:3])

    def keys(self, coordinates: Tensor) -> Tensor:
        """One number per cell of the batch, int64 [V]: ((cloud * nz + z) * ny + y) * nx + x."""
        nx, ny, nz = self.grid_size
        cloud, z, y, x = coordinates.long().unbind(dim=1)
        return ((cloud * nz + z) * ny + y) * nx + x

    def coordinates(self, keys: Tensor) -> Tensor:
        """Inverse of :meth:`keys`: int64 [V] -> [V, 4] (cloud, z, y, x)."""
        nx, ny, nz = self.grid_size
        columns = (keys // (nx * ny * nz), keys // (nx * ny) % nz, keys // nx % ny, keys % nx)
        return torch.stack(columns, dim=1)


@dataclass(frozen=True)
class Voxels:
    """Occupied cells of a batch of clouds, packed: the cells of cloud b are rows ``offsets[b] : offsets[b + 1]``.

    Attributes:
        coordinates: int64 [V, 4], (cloud, z, y, x).
        offsets: int64 [B + 1].
        grid: What the coordinates count.
        features: [V, C], or None before an encoder made them.
        point_to_voxel: int64 [T], the row of each point, -1 where it lies outside the grid; None for cells that were
            not made from points.
        counts: int64 [V], points per cell; None like ``point_to_voxel``.
    """

    coordinates: Tensor
    offsets: Tensor
    grid: VoxelGrid
    features: Tensor | None = None
    point_to_voxel: Tensor | None = None
    counts: Tensor | None = None

    def __post_init__(self) -> None:
        if self.coordinates.dim() != 2 or self.coordinates.shape[1] != 4 or self.coordinates.dtype != torch.int64:
            raise ValueError(
                f"Voxels.coordinates must be int64 [V, 4], got {self.coordinates.dtype} {list(self.coordinates.shape)}"
            )
        if self.features is not None and self.features.shape[0] != self.coordinates.shape[0]:
            raise ValueError(
                f"Voxels.features must have one row per voxel, got {list(self.features.shape)} for "
                f"{self.coordinates.shape[0]} voxels"
            )

    @classmethod
    def from_points(cls, points: Tensor, offsets: Tensor, grid: VoxelGrid, *, policy: str = "drop") -> Voxels:
        """Occupied cells of packed points, ascending by (cloud, z, y, x).

        Args:
            points: [T, 3 or more], x y z first, metres.
            offsets: int64 [B + 1].
            grid: Where the cells are.
            policy: What happens to points outside, see :func:`mae3d.ops.voxelize`.
        """
        found = voxelize(points, grid.voxel_size, grid.point_range, offsets=offsets, policy=policy)
        return cls(found.coordinates, found.offsets, grid, point_to_voxel=found.point_to_voxel, counts=found.counts)

    @property
    def batch_size(self) -> int:
        """B, also where the last clouds are empty."""
        return self.offsets.shape[0] - 1

    @property
    def centers(self) -> Tensor:
        """[V, 3] float32, metres."""
        return self.grid.centers(self.coordinates)

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.coordinates.device

    def __len__(self) -> int:
        """Number of cells V."""
        return self.coordinates.shape[0]

    def replace_features(self, features: Tensor) -> Voxels:
        """The same cells with other features [V, C]."""
        return replace(self, features=features)

    def select(self, rows: Tensor) -> Voxels:
        """The cells ``rows`` (int64 [K], ascending), without their points."""
        coordinates = self.coordinates[rows]
        edges = torch.arange(self.offsets.shape[0], device=self.device)
        return Voxels(
            coordinates,
            torch.searchsorted(coordinates[:, 0].contiguous(), edges),
            self.grid,
            None if self.features is None else self.features[rows],
            counts=None if self.counts is None else self.counts[rows],
        )

    def to_bev(self) -> Tensor:
        """Dense bird's-eye view [B, nz * C, ny, nx]; empty cells are 0. Differentiable.

        Raises:
            ValueError: The voxels have no features.
        """
        if self.features is None:
            raise ValueError("Voxels.to_bev needs features, got None; run an encoder first")
        nx, ny, nz = self.grid.grid_size
        width = self.features.shape[1]
        rows = self.features.new_zeros(self.batch_size * self.grid.num_cells, width)
        rows = rows.index_copy(0, self.grid.keys(self.coordinates), self.features)
        dense = rows.view(self.batch_size, nz, ny, nx, width)
        return dense.permute(0, 1, 4, 2, 3).reshape(self.batch_size, nz * width, ny, nx)

    def to(self, device: torch.device | str) -> Voxels:
        """The same voxels on ``device``."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device)

        return Voxels(
            self.coordinates.to(device),
            self.offsets.to(device),
            self.grid,
            move(self.features),
            move(self.point_to_voxel),
            move(self.counts),
        )
