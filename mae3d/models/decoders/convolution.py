"""Decoder of convolutions over all tokens in their own order, noise in the gaps (data2vec 2.0, arXiv 2212.07525)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError, DataError
from mae3d.models.layers.conv_block import ConvBlock
from mae3d.registry import MODELS
from mae3d.structures import Mask


@MODELS.register_module()
class ConvDecoder(nn.Module):
    """Visible latents at their places, fresh normal noise at hidden ones, then :class:`ConvBlock` after another.

    There is no learned mask token and no position embedding: neighbours tell a hidden token where it is. Weights keep
    torch's own initialisation.

    Args:
        embed_dim: Width of the convolutions C.
        depth: Their number.
        kernel: Their width along every axis.
        groups: Of each.
        input_dim: Width of the latents.
        grid: (rows, columns) of images; None for sequences, of any length.
        residual: Add a block's input to its output where both have the same width.
        input_dropout: Rate on the latents.
        noise: Standard deviation of the noise.
    """

    def __init__(
        self,
        embed_dim: int = 768,
        depth: int = 6,
        kernel: int = 3,
        groups: int = 16,
        *,
        input_dim: int = 768,
        grid: Sequence[int] | None = None,
        residual: bool = True,
        input_dropout: float = 0.0,
        noise: float = 0.01,
    ) -> None:
        super().__init__()
        if grid is not None and len(grid) != 2:
            raise ConfigError(f"ConvDecoder: grid must be (rows, columns) or None, got {tuple(grid)}")
        self.embed_dim = embed_dim
        self.grid = None if grid is None else tuple(grid)
        self.residual = residual
        self.noise = noise
        self.input_dropout = nn.Dropout(input_dropout)
        widths = [input_dim] + [embed_dim] * depth
        axes = 1 if grid is None else 2
        self.blocks = nn.ModuleList(
            ConvBlock(inputs, outputs, kernel, groups, axes) for inputs, outputs in pairwise(widths)
        )

    def forward(self, latents: Tensor, coordinates: Tensor, mask: Mask) -> Tensor:
        """Features of the masked tokens.

        Args:
            latents: [B, V, input_dim], the encoded visible tokens; class tokens before them are left out.
            coordinates: Not used: tokens are put back by ``mask``.
            mask: Which are visible.

        Returns:
            [B, M, C], in ascending token order.
        """
        visible = self.input_dropout(latents)[:, latents.shape[1] - mask.num_visible :]
        hidden = self.noise * torch.randn_like(visible[:, :1].expand(-1, mask.num_masked, -1))
        return mask.gather_masked(self.convolve(mask.restore(visible, hidden)))

    def convolve(self, tokens: Tensor) -> Tensor:
        """All tokens in order [B, N, input_dim] -> [B, N, C]."""
        x = tokens.transpose(1, 2)
        if self.grid is not None:
            if x.shape[2] != math.prod(self.grid):
                raise DataError(f"ConvDecoder: grid {self.grid} needs {math.prod(self.grid)} tokens, got {x.shape[2]}")
            x = x.unflatten(2, self.grid)
        for block in self.blocks:
            y = block(x)
            x = y + x if self.residual and y.shape == x.shape else y
        return x.flatten(2).transpose(1, 2)
