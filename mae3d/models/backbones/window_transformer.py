"""Transformer over a grid of tokens whose attention stays inside shifted windows."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae3d.models.layers import Block, ShiftedWindowAttention, ShiftedWindows, drop_path_schedule, initialize
from mae3d.models.layers.initialization import Initialization
from mae3d.registry import MODELS


@MODELS.register_module()
class WindowTransformer(nn.Module):
    """Blocks with windows at their place and shifted by turns, each branch normalised before it is added.

    Source: Swin v2 (arXiv 2111.09883) in the form of Audio-MAE's decoder (arXiv 2207.06405).

    Args:
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        grid: Tokens along both axes.
        window: Tokens of a window along both axes.
        shift: What windows are shifted by in every second block; (0, 0) never shifts.
        mlp_ratio: Hidden width of the MLPs over C.
        norm_eps: Epsilon of every LayerNorm.
        drop_path: Rate at the last block; rises linearly from 0.
        bias_dim: See :class:`ShiftedWindowAttention`.
        bias_dropout: Likewise.
        initialization: Of Linear and LayerNorm layers.
        gradient_checkpointing: Recompute blocks in the backward pass.
    """

    def __init__(
        self,
        embed_dim: int = 512,
        depth: int = 16,
        num_heads: int = 16,
        *,
        grid: Sequence[int] = (64, 8),
        window: Sequence[int] = (4, 4),
        shift: Sequence[int] = (2, 0),
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
        bias_dim: int = 384,
        bias_dropout: float = 0.1,
        initialization: Initialization = "xavier_uniform",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.depth, self.grid = embed_dim, depth, tuple(grid)
        self.gradient_checkpointing = gradient_checkpointing
        blocks = []
        for index, rate in enumerate(drop_path_schedule(drop_path, depth)):
            windows = ShiftedWindows(grid, window, shift if index % 2 else (0, 0))
            attention = ShiftedWindowAttention(
                embed_dim, num_heads, windows, bias_dim=bias_dim, bias_dropout=bias_dropout
            )
            blocks.append(
                Block(
                    embed_dim,
                    num_heads,
                    mlp_ratio=mlp_ratio,
                    norm="residual",
                    norm_eps=norm_eps,
                    drop_path=rate,
                    attention=attention,
                )
            )
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(embed_dim, norm_eps)
        initialize(self, initialization)

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Tokens [B, N, C] of the whole grid in row-major order, and their positions -> [B, N, C], normalised."""
        return self.norm(self.encode(tokens, positions))

    def encode(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """As ``forward``, without the final norm."""
        x = tokens + positions
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, use_reentrant=False)
            else:
                x = block(x)
        return x
