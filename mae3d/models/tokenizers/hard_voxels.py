"""Hard voxels with the mean of their points as features: the input of SECOND-style encoders.

Source: Yan et al., SECOND (Sensors 2018), section 3.1.1; "MeanVFE" of OpenPCDet. Nothing is learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d import ops
from mae3d.errors import ConfigError
from mae3d.models.masking.random import random_numbers
from mae3d.registry import MODELS
from mae3d.structures import VoxelGrid, Voxels


@MODELS.register_module()
class HardVoxelTokenizer(nn.Module):
    """Points to voxels: the first P points of a voxel, averaged; at most ``max_voxels`` voxels a cloud.

    While training, the points of each cloud are shuffled first, so that the limits take random ones.

    Args:
        point_range: Of the grid, metres, see :class:`VoxelGrid`.
        voxel_size: (x, y, z), metres.
        num_features: Columns C of a point, all averaged.
        max_points: P.
        max_voxels: Limit per cloud while training and otherwise.
        shuffle: Shuffle while training.

    Raises:
        ConfigError: Fewer than the three coordinates as features.
    """

    def __init__(
        self,
        point_range: tuple[float, ...],
        voxel_size: tuple[float, ...],
        num_features: int = 4,
        *,
        max_points: int = 5,
        max_voxels: tuple[int, int] = (16000, 40000),
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        if num_features < 3:
            raise ConfigError(f"HardVoxelTokenizer: num_features counts x, y and z too, got {num_features}")
        self.grid = VoxelGrid(point_range, voxel_size)
        self.num_features = num_features
        self.max_points = max_points
        self.max_voxels = tuple(max_voxels)
        self.shuffle = shuffle

    def forward(self, points: Tensor, offsets: Tensor, generator: torch.Generator | None = None) -> Voxels:
        """Voxelise packed points.

        Args:
            points: [T, C], x y z first, metres.
            offsets: int64 [B + 1].
            generator: Source of the shuffle; None: the global RNG of the device.

        Returns:
            :class:`Voxels` with features [V, C], in order of the first point.

        Raises:
            ConfigError: Points with other columns than ``num_features``.
        """
        if points.shape[1] != self.num_features:
            raise ConfigError(
                f"HardVoxelTokenizer: built for points of {self.num_features} columns, got {list(points.shape)}; set "
                "num_features to 3 + the data set's features (+ 1 for the time lag of sweeps)"
            )
        points = points.float()
        if self.shuffle and self.training:
            points = points[shuffle_order(offsets, len(points), generator)]
        found = ops.voxelize_hard(
            points,
            self.grid.voxel_size,
            self.grid.point_range,
            max_points_per_voxel=self.max_points,
            max_voxels=self.max_voxels[0 if self.training else 1],
            offsets=offsets,
        )
        mean = found.voxels.sum(dim=1) / found.counts[:, None]  # [V, C]
        return Voxels(found.coordinates, found.offsets, self.grid, mean, counts=found.counts)

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"{self.grid.voxel_size}, max_points={self.max_points}, max_voxels={self.max_voxels}"


def shuffle_order(offsets: Tensor, count: int, generator: torch.Generator | None = None) -> Tensor:
    """Random order of packed rows, int64 [T], in which every cloud stays in its own range."""
    order = random_numbers((count,), offsets.device, generator).argsort()
    cloud = torch.searchsorted(offsets, order, right=True)
    return order[cloud.argsort(stable=True)]
