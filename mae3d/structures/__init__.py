"""The values that flow between the parts: point clouds, tokens, masks, boxes."""

from mae3d.structures.mask import Mask
from mae3d.structures.pixel_reconstruction import PixelReconstruction
from mae3d.structures.point_cloud import PointCloud
from mae3d.structures.ragged_mask import RaggedMask
from mae3d.structures.reconstruction import Reconstruction
from mae3d.structures.scene_reconstruction import SceneReconstruction
from mae3d.structures.sparse_tensor import SparseTensor
from mae3d.structures.text_mask import TextMask
from mae3d.structures.tokens import Tokens
from mae3d.structures.voxel_mask import VoxelMask
from mae3d.structures.voxel_patches import VoxelPatches, number_cells
from mae3d.structures.voxels import VoxelGrid, Voxels

__all__ = [
    "Mask",
    "PixelReconstruction",
    "PointCloud",
    "RaggedMask",
    "Reconstruction",
    "SceneReconstruction",
    "SparseTensor",
    "TextMask",
    "Tokens",
    "VoxelGrid",
    "VoxelMask",
    "VoxelPatches",
    "Voxels",
    "number_cells",
]
