"""Models: parts (tokenizers, masking, backbones, decoders, targets, losses), methods and downstream heads."""

from mae3d.models import backbones, decoders, heads, losses, masking, methods, targets, tokenizers

__all__ = ["backbones", "decoders", "heads", "losses", "masking", "methods", "targets", "tokenizers"]
