"""Backbones: tokens to latents."""

from mae3d.models.backbones.vit import ViT

__all__ = ["ViT"]
