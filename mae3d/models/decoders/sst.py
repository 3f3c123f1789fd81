"""Decoder of Voxel-MAE: the encoder's kind of layers over all voxels and some empty cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mae3d.models.backbones.sst import SSTBackbone
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask, Voxels


@MODELS.register_module()
class SSTDecoder(nn.Module):
    """Visible voxels keep their latents; masked voxels and empty cells enter as one learned token.

    Args:
        embed_dim: Width C, equal to the encoder's.
        depth: Pairs of layers, see :class:`SSTBackbone`.
        num_heads: Attention heads.
        **options: Further options of :class:`SSTBackbone`.
    """

    def __init__(self, embed_dim: int = 128, depth: int = 6, num_heads: int = 8, **options: Any) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.mask_token = nn.Parameter(torch.empty(1, embed_dim).normal_(std=0.02))
        self.transformer = SSTBackbone(embed_dim, depth, num_heads, **options)

    def forward(self, latents: Tensor, voxels: Voxels, mask: VoxelMask) -> Tensor:
        """Features of every voxel and every empty cell.

        Args:
            latents: [V', C], of the visible voxels.
            voxels: All voxels of the batch; their own features are not read.
            mask: Which are visible, and the empty cells.

        Returns:
            [V + E, C]: the voxels in their order, then ``mask.empty``.
        """
        coordinates = voxels.coordinates
        if mask.empty is not None:
            coordinates = torch.cat((coordinates, mask.empty))
        tokens = self.mask_token.to(latents.dtype).expand(len(coordinates), -1)
        tokens = tokens.index_copy(0, mask.visible, latents)
        return self.transformer.encode(tokens, coordinates, voxels.grid, voxels.batch_size)
