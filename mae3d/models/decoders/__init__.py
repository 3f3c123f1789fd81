"""Decoders: latents and Mask to features of the masked tokens."""

from mae3d.models.decoders.append import AppendDecoder
from mae3d.models.decoders.convolution import ConvDecoder
from mae3d.models.decoders.dense_occupancy import OccupancyDecoder
from mae3d.models.decoders.enhanced import EnhancedDecoder
from mae3d.models.decoders.folding import FoldingDecoder, PatchPoints
from mae3d.models.decoders.generative import GenerativeDecoder
from mae3d.models.decoders.grid import GridDecoder
from mae3d.models.decoders.in_place import InPlaceDecoder
from mae3d.models.decoders.query import QueryDecoder
from mae3d.models.decoders.sparse_occupancy import OccupancyField, decode_sparse
from mae3d.models.decoders.sst import SSTDecoder
from mae3d.models.decoders.words import LexicalHead, WordHead, word_loss

__all__ = [
    "AppendDecoder",
    "ConvDecoder",
    "EnhancedDecoder",
    "FoldingDecoder",
    "GenerativeDecoder",
    "GridDecoder",
    "InPlaceDecoder",
    "LexicalHead",
    "OccupancyDecoder",
    "OccupancyField",
    "PatchPoints",
    "QueryDecoder",
    "SSTDecoder",
    "WordHead",
    "decode_sparse",
    "word_loss",
]
