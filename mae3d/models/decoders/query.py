"""Decoder that is asked about places: queries without content attend to each other and to encoded tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae3d.errors import ConfigError
from mae3d.models.building import build
from mae3d.models.layers import Attention, DropPath, Mlp, drop_path_schedule, initialize
from mae3d.models.layers.attention import MemoryAttention
from mae3d.registry import MODELS

DropPathOver = Literal["samples", "queries"]


class QueryBlock(nn.Module):
    """Self-attention of the queries, attention to the memory, MLP; each in a residual branch behind a LayerNorm.

    Positions are added to what queries and keys are made of, not to the values.

    Args:
        dim: Width C.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over C.
        norm_eps: Epsilon of LayerNorm.
        drop_path: Rate of the three branches, drawn separately.
        drop_path_over: See :class:`QueryDecoder`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-5,
        drop_path: float = 0.0,
        drop_path_over: DropPathOver = "samples",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, norm_eps)
        self.self_attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, norm_eps)
        self.memory_attn = MemoryAttention(dim, num_heads)
        self.norm3 = nn.LayerNorm(dim, norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path)
        self.over_queries = drop_path_over == "queries"

    def forward(self, x: Tensor, position: Tensor, memory: Tensor, memory_position: Tensor) -> Tensor:
        """Queries [B, Q, C] and memory [B, V, C], each with positions of its shape -> [B, Q, C]."""
        x = x + self._drop(self.self_attn(self.norm1(x), position=position))
        asking = self.norm2(x) + position
        x = x + self._drop(self.memory_attn(asking, memory, memory_position=memory_position))
        return x + self._drop(self.mlp(self.norm3(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        if self.over_queries:
            return self.drop_path(branch.transpose(0, 1)).transpose(0, 1)
        return self.drop_path(branch)


@MODELS.register_module()
class QueryDecoder(nn.Module):
    """Features at any places, of features at other places (DETR's decoder with LayerNorm first).

    Args:
        embed_dim: Width C of queries and memory.
        depth: Number of blocks.
        num_heads: Attention heads.
        position_embedding: Module or config from coordinates to C channels, for queries and memory alike.
        norm_eps: Epsilon of every LayerNorm.
        drop_path: Rate at the last block; rises linearly from 0.
        drop_path_over: What is dropped: a branch of whole "samples", or of "queries", of each the same rank in all
            samples of the batch, as a sequence-first implementation does.
        gradient_checkpointing: Recompute blocks in the backward pass.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        *,
        position_embedding: nn.Module | dict,
        norm_eps: float = 1e-5,
        drop_path: float = 0.0,
        drop_path_over: DropPathOver = "samples",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if drop_path_over not in ("samples", "queries"):
            raise ConfigError(f'QueryDecoder: drop_path_over must be "samples" or "queries", got {drop_path_over!r}')
        self.embed_dim = embed_dim
        self.gradient_checkpointing = gradient_checkpointing
        self.blocks = nn.ModuleList(
            QueryBlock(embed_dim, num_heads, norm_eps=norm_eps, drop_path=rate, drop_path_over=drop_path_over)
            for rate in drop_path_schedule(drop_path, depth)
        )
        self.norm = nn.LayerNorm(embed_dim, norm_eps)
        initialize(self, "xavier_uniform")
        self.position_embedding = build(position_embedding)

    def forward(self, memory: Tensor, places: Tensor, queries: Tensor) -> Tensor:
        """Features at the queries.

        Args:
            memory: [B, V, C], encoded tokens.
            places: [B, V, D], their coordinates.
            queries: [B, Q, D], coordinates in the same frame.

        Returns:
            [B, Q, C], through the final norm.
        """
        position, memory_position = self.position_embedding(queries), self.position_embedding(places)
        x = torch.zeros_like(position)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, position, memory, memory_position, use_reentrant=False)
            else:
                x = block(x, position, memory, memory_position)
        return self.norm(x)
