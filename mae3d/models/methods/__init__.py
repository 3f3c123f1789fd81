"""Methods: one file per system of the literature."""

from mae3d.models.methods.mae import MAE, mae_base, mae_huge, mae_large, mae_test, mae_tiny
from mae3d.models.methods.mae_st import MAEST, mae_st_base, mae_st_huge, mae_st_large, mae_st_test, mae_st_tiny
from mae3d.models.methods.masked_autoencoder import MaskedAutoencoder, MaskedPrediction
from mae3d.models.methods.p3p import P3P, p3p_base, p3p_small, p3p_test, p3p_tiny
from mae3d.models.methods.point_mae import PointMAE, point_mae_base, point_mae_test, point_mae_tiny
from mae3d.models.methods.r_mae import (
    RMAE,
    r_mae,
    r_mae_residual,
    r_mae_residual_test,
    r_mae_test,
    r_mae_two_stage,
    r_mae_two_stage_test,
)
from mae3d.models.methods.videomae import (
    VideoMAE,
    videomae_base,
    videomae_huge,
    videomae_large,
    videomae_small,
    videomae_test,
    videomae_tiny,
)
from mae3d.models.methods.voxel_mae import (
    VoxelMAE,
    voxel_mae_base,
    voxel_mae_intensity,
    voxel_mae_shallow,
    voxel_mae_test,
    voxel_mae_tiny,
)

__all__ = [
    "MAE",
    "MAEST",
    "P3P",
    "RMAE",
    "MaskedAutoencoder",
    "MaskedPrediction",
    "PointMAE",
    "VideoMAE",
    "VoxelMAE",
    "mae_base",
    "mae_huge",
    "mae_large",
    "mae_st_base",
    "mae_st_huge",
    "mae_st_large",
    "mae_st_test",
    "mae_st_tiny",
    "mae_test",
    "mae_tiny",
    "p3p_base",
    "p3p_small",
    "p3p_test",
    "p3p_tiny",
    "point_mae_base",
    "point_mae_test",
    "point_mae_tiny",
    "r_mae",
    "r_mae_residual",
    "r_mae_residual_test",
    "r_mae_test",
    "r_mae_two_stage",
    "r_mae_two_stage_test",
    "videomae_base",
    "videomae_huge",
    "videomae_large",
    "videomae_small",
    "videomae_test",
    "videomae_tiny",
    "voxel_mae_base",
    "voxel_mae_intensity",
    "voxel_mae_shallow",
    "voxel_mae_test",
    "voxel_mae_tiny",
]
