"""Losses."""

from mae3d.models.losses.chamfer import ChamferLoss
from mae3d.models.losses.co_masked import CoMaskedCosine
from mae3d.models.losses.contrastive import contrastive_loss, distillation_loss, gather_rows
from mae3d.models.losses.key_queue import KeyQueue
from mae3d.models.losses.regression import SummedRegression
from mae3d.models.losses.squared import SquaredError
from mae3d.models.losses.surface import SurfaceLoss
from mae3d.models.losses.voxel_patches import cell_occupancy_loss, patch_voxel_loss
from mae3d.models.losses.voxels import empty_cell_loss, point_count_loss, voxel_chamfer_loss

__all__ = [
    "ChamferLoss",
    "CoMaskedCosine",
    "KeyQueue",
    "SquaredError",
    "SummedRegression",
    "SurfaceLoss",
    "cell_occupancy_loss",
    "contrastive_loss",
    "distillation_loss",
    "empty_cell_loss",
    "gather_rows",
    "patch_voxel_loss",
    "point_count_loss",
    "voxel_chamfer_loss",
]
