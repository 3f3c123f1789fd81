"""Between the lidar axes of nuScenes' files, which mmdet3d keeps (x right, y ahead), and ours (x ahead, y left).

What ours learned on nuScenes expects points ahead to have a large x. On KITTI and Waymo both codebases agree.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.structures import VoxelGrid


def turn_points(points: Tensor) -> Tensor:
    """Points [T, 3 or more], x right and y ahead -> x ahead and y left."""
    x, y = points[:, :1], points[:, 1:2]
    return torch.cat((y, -x, points[:, 2:]), dim=1)


def turn_grid(grid: VoxelGrid) -> VoxelGrid:
    """The grid with x ahead that covers the same cells."""
    x_min, y_min, z_min, x_max, y_max, z_max = grid.point_range
    x, y, z = grid.voxel_size
    return VoxelGrid((y_min, -x_max, z_min, y_max, -x_min, z_max), (y, x, z))


def turn_cells(coordinates: Tensor, grid: VoxelGrid) -> Tensor:
    """Cells [V, 4] (cloud, z, y, x) of ``grid`` -> those of ``turn_grid(grid)`` at the same place."""
    cloud, z, y, x = coordinates.unbind(dim=1)
    return torch.stack((cloud, z, grid.grid_size[0] - 1 - x, y), dim=1)


def turn_map_back(bev: Tensor) -> Tensor:
    """Bird's-eye map [B, C, y left, x ahead] -> [B, C, y ahead, x right]."""
    return bev.transpose(2, 3).flip(3)
