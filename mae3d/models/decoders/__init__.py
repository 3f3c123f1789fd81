"""Decoders: latents and Mask to features of the masked tokens."""

from mae3d.models.decoders.append import AppendDecoder
from mae3d.models.decoders.sst import SSTDecoder

__all__ = ["AppendDecoder", "SSTDecoder"]
