"""Official checkpoints to ours and back: one key map per system."""

from mae3d.checkpoints.conversion import SYSTEMS, Conversion, convert, export
from mae3d.checkpoints.files import load_weights, save_safetensors
from mae3d.checkpoints.pretrained import LoadReport, PretrainedBlocks, PretrainedEncoder, load_pretrained

__all__ = [
    "SYSTEMS",
    "Conversion",
    "LoadReport",
    "PretrainedBlocks",
    "PretrainedEncoder",
    "convert",
    "export",
    "load_pretrained",
    "load_weights",
    "save_safetensors",
]
