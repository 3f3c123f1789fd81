"""Decoders: latents and Mask to features of the masked tokens."""

from mae3d.models.decoders.append import AppendDecoder

__all__ = ["AppendDecoder"]
