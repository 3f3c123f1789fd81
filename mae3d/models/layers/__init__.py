"""Building blocks shared by backbones, decoders and tokenizers."""

from mae3d.models.layers.adaptive import AdaptiveBlock, AdaptiveHead
from mae3d.models.layers.alibi import AlibiBias
from mae3d.models.layers.attention import Attention, attention
from mae3d.models.layers.attentive_pool import AttentivePool
from mae3d.models.layers.block import Block
from mae3d.models.layers.condition import TimeAndClass
from mae3d.models.layers.conv_block import ConvBlock
from mae3d.models.layers.conv_positions import ConvPositions
from mae3d.models.layers.coordinate_mlp import CoordinateMlp
from mae3d.models.layers.drop_path import DropPath, drop_path_schedule
from mae3d.models.layers.grid_positions import GridPositions, SeparablePositions, sincos_table, sinusoid_table
from mae3d.models.layers.grid_windows import GridWindows
from mae3d.models.layers.initialization import initialize
from mae3d.models.layers.mask_token import MaskToken
from mae3d.models.layers.mixture import MixtureMlp, balance_loss
from mae3d.models.layers.mlp import Mlp
from mae3d.models.layers.packing import Packing
from mae3d.models.layers.shifted_windows import ShiftedWindowAttention, ShiftedWindows
from mae3d.models.layers.sparse_backend import set_sparse_backend, sparse_backend
from mae3d.models.layers.sparse_conv import (
    SparseConv2d,
    SparseConv3d,
    SparseInverseConv2d,
    SparseInverseConv3d,
    SubMConv2d,
    SubMConv3d,
)
from mae3d.models.layers.sparse_sequential import SparseBatchNorm, SparseSequential

__all__ = [
    "AdaptiveBlock",
    "AdaptiveHead",
    "AlibiBias",
    "Attention",
    "AttentivePool",
    "Block",
    "ConvBlock",
    "ConvPositions",
    "CoordinateMlp",
    "DropPath",
    "GridPositions",
    "GridWindows",
    "MaskToken",
    "MixtureMlp",
    "Mlp",
    "Packing",
    "SeparablePositions",
    "ShiftedWindowAttention",
    "ShiftedWindows",
    "SparseBatchNorm",
    "SparseConv2d",
    "SparseConv3d",
    "SparseInverseConv2d",
    "SparseInverseConv3d",
    "SparseSequential",
    "SubMConv2d",
    "SubMConv3d",
    "TimeAndClass",
    "attention",
    "balance_loss",
    "drop_path_schedule",
    "initialize",
    "set_sparse_backend",
    "sincos_table",
    "sinusoid_table",
    "sparse_backend",
]
