"""Relative positions of a sequence, read off its tokens by convolutions."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.models.layers.conv_block import ConvBlock
from mae3d.registry import MODELS


@MODELS.register_module()
class ConvPositions(nn.Module):
    """Positions that convolutions read off the tokens themselves: relative, for sequences of any length.

    Source: data2vec (arXiv 2202.03555), after wav2vec 2.0; hidden tokens are given as zeros.

    Args:
        embed_dim: Width C.
        depth: Convolutions.
        width: Tokens that all of them are meant to reach: each is max(3, width // depth) wide.
        groups: Of each.
    """

    reads_tokens = True
    """The argument of ``forward`` are the tokens, not their coordinates."""

    def __init__(self, embed_dim: int = 768, depth: int = 5, width: int = 95, groups: int = 16) -> None:
        super().__init__()
        kernel = max(3, width // depth)
        self.blocks = nn.Sequential(*(ConvBlock(embed_dim, embed_dim, kernel, groups) for _ in range(depth)))

    def forward(self, tokens: Tensor) -> Tensor:
        """All tokens in order [B, N, C], zeros where hidden -> [B, N, C]."""
        return self.blocks(tokens.transpose(1, 2)).transpose(1, 2)
