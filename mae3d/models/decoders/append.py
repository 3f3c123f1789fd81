"""Decoder whose input is the visible latents followed by mask tokens, never put back into token order."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.models.backbones.vit import PositionUse, ViT
from mae3d.models.layers.attention import QkvBias
from mae3d.models.layers.initialization import Initialization
from mae3d.registry import MODELS
from mae3d.structures import Mask


@MODELS.register_module()
class AppendDecoder(nn.Module):
    """A small transformer over [visible | mask tokens], both in ascending token order.

    Args:
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        position_embedding: Module or config from coordinates to C channels; the decoder owns it.
        input_dim: Width of the encoder's latents; a projection is added where it differs from ``embed_dim``.
        mlp_ratio: Hidden width of the MLPs over C.
        qkv_bias: See :class:`mae3d.models.layers.Attention`.
        position: Where positions enter, see :class:`ViT`.
        norm_eps: Epsilon of every LayerNorm.
        drop_path: Rate at the last block; rises linearly from 0.
        initialization: Of the blocks and the projection; the position embedding keeps its own.
        gradient_checkpointing: See :class:`ViT`.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        *,
        position_embedding: nn.Module | dict,
        input_dim: int | None = None,
        mlp_ratio: float = 4.0,
        qkv_bias: QkvBias = "full",
        position: PositionUse = "once",
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
        initialization: Initialization = "xavier_uniform",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        input_dim = input_dim or embed_dim
        self.embed_dim = embed_dim
        self.projection = nn.Identity() if input_dim == embed_dim else nn.Linear(input_dim, embed_dim)
        self.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, embed_dim), std=0.02))
        self.position_embedding = (
            MODELS.build(position_embedding) if isinstance(position_embedding, dict) else position_embedding
        )
        self.transformer = ViT(
            embed_dim,
            depth,
            num_heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            position=position,
            norm_eps=norm_eps,
            drop_path=drop_path,
            initialization=initialization,
            gradient_checkpointing=gradient_checkpointing,
        )

    def forward(self, latents: Tensor, coordinates: Tensor, mask: Mask) -> Tensor:
        """Features of the masked tokens.

        Args:
            latents: [B, V, input_dim], the encoded visible tokens.
            coordinates: [B, N, D], of all tokens.
            mask: Which are visible.

        Returns:
            [B, M, C], through the final norm.
        """
        decoded = self.decode(latents, coordinates, mask)
        return self.transformer.norm(decoded[:, mask.num_visible :])

    def decode(self, latents: Tensor, coordinates: Tensor, mask: Mask) -> Tensor:
        """Output of the last block before the norm, [B, V + M, C]: visible tokens first."""
        latents = self.projection(latents)
        queries = self.mask_token.expand(latents.shape[0], mask.num_masked, -1).to(latents.dtype)
        ordered = torch.cat((mask.gather_visible(coordinates), mask.gather_masked(coordinates)), dim=1)
        return self.transformer.encode(torch.cat((latents, queries), dim=1), self.position_embedding(ordered))
