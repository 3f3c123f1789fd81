"""Backbones: tokens to latents, voxels to features, bird's-eye maps to maps."""

from mae3d.models.backbones.bev import SECONDFPN, AttachedConvs, BaseBEVBackbone, BEVSequential, bev_map
from mae3d.models.backbones.dense_fusion import DenseFusion
from mae3d.models.backbones.dgcnn import DGCNN
from mae3d.models.backbones.dit import DiT, DiTOutput
from mae3d.models.backbones.sparse_voxel import VoxelBackBone8x, VoxelResBackBone8x
from mae3d.models.backbones.sst import SSTBackbone
from mae3d.models.backbones.sst_pyramid import SiamWCA, SSTPyramid
from mae3d.models.backbones.vit import ViT
from mae3d.models.backbones.window_transformer import WindowTransformer

__all__ = [
    "DGCNN",
    "SECONDFPN",
    "AttachedConvs",
    "BEVSequential",
    "BaseBEVBackbone",
    "DenseFusion",
    "DiT",
    "DiTOutput",
    "SSTBackbone",
    "SSTPyramid",
    "SiamWCA",
    "ViT",
    "VoxelBackBone8x",
    "VoxelResBackBone8x",
    "WindowTransformer",
    "bev_map",
]
