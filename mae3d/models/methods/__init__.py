"""Methods: one file per system of the literature."""

from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, MaskedPrediction
from mae3d.models.methods.point_mae import PointMAE, point_mae_base, point_mae_test, point_mae_tiny
from mae3d.models.methods.voxel_mae import (
    VoxelMAE,
    voxel_mae_base,
    voxel_mae_intensity,
    voxel_mae_shallow,
    voxel_mae_test,
    voxel_mae_tiny,
)

__all__ = [
    "MaskedAutoencoder",
    "MaskedPrediction",
    "PointMAE",
    "VoxelMAE",
    "point_mae_base",
    "point_mae_test",
    "point_mae_tiny",
    "voxel_mae_base",
    "voxel_mae_intensity",
    "voxel_mae_shallow",
    "voxel_mae_test",
    "voxel_mae_tiny",
]
