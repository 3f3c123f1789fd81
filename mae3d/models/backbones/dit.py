"""The diffusion transformer: blocks that a condition modulates, over dense or packed tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae3d.errors import ConfigError
from mae3d.models.layers import Mlp, Packing
from mae3d.models.layers.adaptive import AdaptiveBlock
from mae3d.models.layers.grid_windows import GridWindows
from mae3d.models.layers.mixture import MixtureMlp
from mae3d.registry import MODELS


class DiTOutput(NamedTuple):
    """What a :class:`DiT` gives."""

    tokens: Tensor
    """Same shape as its input."""
    routing: Tensor | None
    """float32 [depth, 2, E] of blocks with experts (see :class:`MixtureMlp`), None without."""


@MODELS.register_module()
class DiT(nn.Module):
    """Peebles and Xie, Scalable Diffusion Models with Transformers (arXiv 2212.09748), without its ends.

    Args:
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        condition_dim: Width of the condition; None for C.
        mlp_ratio: Hidden width of the feed-forward layers over C.
        num_experts: Experts of the feed-forward layers; 0 for plain MLPs.
        top_k: Experts per token.
        grid: Tokens along each axis of the dense grid; needed with ``window_blocks``.
        window: Window size in tokens.
        window_blocks: Blocks whose attention stays inside windows; they take dense tokens only.
        gradient_checkpointing: Recompute blocks in the backward pass instead of keeping their activations.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        *,
        condition_dim: int | None = None,
        mlp_ratio: float = 4.0,
        num_experts: int = 0,
        top_k: int = 1,
        grid: int | None = None,
        window: int = 4,
        window_blocks: Sequence[int] = (),
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        strange = [index for index in window_blocks if not 0 <= index < depth]
        if strange:
            raise ConfigError(f"DiT: window_blocks must be blocks 0 to {depth - 1}, got {strange}")
        if window_blocks and grid is None:
            raise ConfigError("DiT: window_blocks need grid, the number of tokens along an axis")
        self.embed_dim = embed_dim
        self.depth = depth
        self.gradient_checkpointing = gradient_checkpointing

        def feed_forward() -> Mlp | MixtureMlp:
            hidden = int(embed_dim * mlp_ratio)
            return MixtureMlp(embed_dim, hidden, num_experts, top_k) if num_experts else Mlp(embed_dim, hidden)

        self.blocks = nn.ModuleList(
            AdaptiveBlock(
                embed_dim,
                num_heads,
                embed_dim if condition_dim is None else condition_dim,
                feed_forward,
                GridWindows(grid, window) if index in window_blocks else None,
            )
            for index in range(depth)
        )
        for block in self.blocks:
            for layer in [m for name, m in block.named_modules() if isinstance(m, nn.Linear) and name != "modulation"]:
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, tokens: Tensor, condition: Tensor, packing: Packing | None = None) -> DiTOutput:
        """Tokens [B, N, C] or packed [T, C], condition [B, D] -> :class:`DiTOutput`."""
        routings = []
        for block in self.blocks:
            if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
                tokens, routing = checkpoint(block, tokens, condition, packing, use_reentrant=False)
            else:
                tokens, routing = block(tokens, condition, packing)
            routings.append(routing)
        return DiTOutput(tokens, None if routings[0] is None else torch.stack(routings))
