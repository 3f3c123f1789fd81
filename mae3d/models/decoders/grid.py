"""Decoder over a whole grid of tokens: latents at their places, a learned token elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae3d.models.backbones.dit import DiT
from mae3d.models.layers.grid_positions import sincos_table
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask


@MODELS.register_module()
class GridDecoder(nn.Module):
    """A light diffusion transformer over all tokens, partly in windows (FastDiT-3D, arXiv 2312.07231, sec. 3.3).

    Args:
        grid: Tokens along each axis.
        input_dim: Width of the latents and of the condition.
        embed_dim: Width C; a linear layer leads to it where it differs from ``input_dim``.
        depth: Number of blocks.
        num_heads: Attention heads.
        window: Window size in tokens.
        window_blocks: Blocks whose attention stays inside windows.
        gradient_checkpointing: Recompute blocks in the backward pass.
    """

    position: Tensor

    def __init__(
        self,
        grid: int,
        input_dim: int,
        embed_dim: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        *,
        window: int = 4,
        window_blocks: Sequence[int] = (0, 2),
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.grid = grid
        self.embedding = nn.Identity() if input_dim == embed_dim else nn.Linear(input_dim, embed_dim)
        self.mask_token = nn.Parameter(nn.init.normal_(torch.empty(embed_dim), std=0.02))
        self.register_buffer("position", sincos_table((grid,) * 3, embed_dim, last_first=False)[None], persistent=False)
        self.transformer = DiT(
            embed_dim,
            depth,
            num_heads,
            condition_dim=input_dim,
            grid=grid,
            window=window,
            window_blocks=window_blocks,
            gradient_checkpointing=gradient_checkpointing,
        )

    def forward(self, latents: Tensor, condition: Tensor, mask: VoxelMask | None = None) -> Tensor:
        """Features of all tokens [B, N, C].

        Args:
            latents: Visible ones, packed [V, input_dim] in the order of ``mask.visible``; all, [B, N, input_dim],
                without a mask.
            condition: [B, input_dim].
            mask: Over the B N tokens of the batch.
        """
        known = self.embedding(latents)
        if mask is not None:
            unknown = self.mask_token.to(known.dtype).expand(mask.num_voxels, -1)
            known = unknown.index_copy(0, mask.visible, known).unflatten(0, (len(condition), -1))
        return self.transformer(known + self.position, condition).tokens
