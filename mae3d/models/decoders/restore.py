"""Decoder of the image MAE: latents and mask tokens put back into token order, class token first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from mae3d.models.backbones.vit import ViT
from mae3d.models.building import build
from mae3d.models.layers.initialization import Initialization, initialize
from mae3d.registry import MODELS
from mae3d.structures import Mask, VoxelMask


@MODELS.register_module()
class RestoreDecoder(nn.Module):
    """A small transformer over [class latent | all tokens in order], dense or packed.

    The class latent of the encoder goes along, without a position, and is left out of the result.

    Args:
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        position_embedding: Module or config from coordinates to C channels; the decoder owns it.
        input_dim: Width of the encoder's latents.
        mlp_ratio: Hidden width of the MLPs over C.
        norm_eps: Epsilon of every LayerNorm.
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
        input_dim: int = 384,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        initialization: Initialization = "xavier_uniform",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.projection = nn.Linear(input_dim, embed_dim)
        initialize(self.projection, initialization)
        self.mask_token = nn.Parameter(nn.init.normal_(torch.empty(1, 1, embed_dim), std=0.02))
        self.position_embedding = build(position_embedding)
        self.transformer = ViT(
            embed_dim,
            depth,
            num_heads,
            mlp_ratio=mlp_ratio,
            norm_eps=norm_eps,
            initialization=initialization,
            gradient_checkpointing=gradient_checkpointing,
        )

    def forward(self, latents: Tensor, coordinates: Tensor, mask: Mask, allowed: Tensor | None = None) -> Tensor:
        """Features of all tokens.

        Args:
            latents: [B, 1 + V, input_dim], class token first.
            coordinates: [B, N, 3], of all tokens.
            mask: Which are visible.
            allowed: bool [B, N, N], which tokens see which; the class token sees all and is seen by all.

        Returns:
            [B, N, C] in token order, through the final norm.
        """
        latents = self.projection(latents)
        hidden = self.mask_token.to(latents.dtype).expand(len(latents), mask.num_masked, -1)
        tokens = torch.cat((latents[:, :1], mask.restore(latents[:, 1:], hidden)), dim=1)
        positions = pad(self.position_embedding(coordinates), (0, 0, 1, 0))
        allowed = None if allowed is None else pad(allowed, (1, 0, 1, 0), value=True)
        return self.transformer(tokens, positions, allowed=allowed)[:, 1:]

    def forward_packed(self, latents: Tensor, coordinates: Tensor, offsets: Tensor, mask: VoxelMask) -> Tensor:
        """The same for packed tokens.

        Args:
            latents: [B + V, input_dim], in each cloud the class token first.
            coordinates: [P, 3], of all tokens.
            offsets: int64 [B + 1] of all tokens.
            mask: Which are visible.

        Returns:
            [P, C].
        """
        latents = self.projection(latents)
        cloud = torch.repeat_interleave(offsets.diff(), output_size=len(coordinates))
        rows = torch.arange(len(cloud), device=cloud.device) + cloud + 1  # of the tokens, class tokens between
        heads = offsets[:-1] + torch.arange(len(offsets) - 1, device=cloud.device)
        size = len(rows) + len(heads)
        taken = torch.zeros(size, dtype=torch.bool, device=cloud.device)
        taken = taken.index_fill(0, rows[mask.visible], True).index_fill(0, heads, True)
        tokens = self.mask_token[0].to(latents.dtype).expand(size, -1)
        tokens = tokens.index_copy(0, taken.nonzero().squeeze(1), latents)
        positions = self.position_embedding(coordinates)
        positions = positions.new_zeros(size, self.embed_dim).index_copy(0, rows, positions)
        shifted = offsets + torch.arange(len(offsets), device=offsets.device)
        return self.transformer(tokens, positions, shifted)[rows]
