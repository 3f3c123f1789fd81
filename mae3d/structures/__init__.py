"""The values that flow between the parts: point clouds, tokens, masks, boxes."""

from mae3d.structures.mask import Mask
from mae3d.structures.point_cloud import PointCloud
from mae3d.structures.reconstruction import Reconstruction
from mae3d.structures.sparse_tensor import SparseTensor
from mae3d.structures.tokens import Tokens

__all__ = ["Mask", "PointCloud", "Reconstruction", "SparseTensor", "Tokens"]
