"""Losses."""

from mae3d.models.losses.chamfer import ChamferLoss
from mae3d.models.losses.voxels import empty_cell_loss, point_count_loss, voxel_chamfer_loss

__all__ = ["ChamferLoss", "empty_cell_loss", "point_count_loss", "voxel_chamfer_loss"]
