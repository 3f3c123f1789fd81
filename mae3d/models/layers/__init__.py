"""Building blocks shared by backbones, decoders and tokenizers."""

from mae3d.models.layers.attention import Attention, attention
from mae3d.models.layers.block import Block
from mae3d.models.layers.coordinate_mlp import CoordinateMlp
from mae3d.models.layers.drop_path import DropPath, drop_path_schedule
from mae3d.models.layers.initialization import initialize
from mae3d.models.layers.mlp import Mlp
from mae3d.models.layers.packing import Packing

__all__ = [
    "Attention",
    "Block",
    "CoordinateMlp",
    "DropPath",
    "Mlp",
    "Packing",
    "attention",
    "drop_path_schedule",
    "initialize",
]
