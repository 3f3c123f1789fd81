"""The one transformer of all systems that are plain ViTs.

Its options are those in which published systems really differ; parameter names follow the common ones
(``blocks.i.attn.qkv``, ``norm1``, ``mlp.fc1``, ...), so official checkpoints map by prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae3d.errors import ConfigError
from mae3d.models.layers import Block, Packing, drop_path_schedule, initialize
from mae3d.models.layers.attention import QkvBias
from mae3d.models.layers.block import NormPlacement
from mae3d.models.layers.initialization import Initialization
from mae3d.registry import MODELS

PositionUse = Literal["once", "every_block", "none"]
ClassPosition = Literal[True, False, "fixed"]


@MODELS.register_module()
class ViT(nn.Module):
    """Transformer encoder over tokens that are already embedded.

    Args:
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over C.
        qkv_bias: "none", "q_v" or "full", see :class:`mae3d.models.layers.Attention`.
        position: Where position embeddings enter: "once" before the first block, "every_block" (added again to the
            input of each block, so they accumulate in the residual stream), or "none".
        norm: Place of LayerNorm in a block: "pre", "post" or "residual".
        norm_eps: Epsilon of every LayerNorm.
        final_norm: LayerNorm after the last block.
        layer_scale: Initial residual gain, None for none.
        drop_path: Rate at the last block; rises linearly from 0.
        activation: "gelu", "relu" or "silu".
        class_token: Prepend a learned token.
        class_position: Position of the class token: True a learned one, "fixed" a row of zeros that is stored but does
            not learn (MAE's pre-training), False none.
        input_norm: LayerNorm before the first block, behind positions and class token.
        input_dropout: Rate behind it.
        dropout: Rate behind attention and MLP of a block, per value.
        attention_dropout: Rate of attention weights.
        layer_drop: Probability that a block is skipped in training; the parameters of a skipped one get no gradient,
            so that several processes need ``find_unused_parameters=True``.
        initialization: Of Linear and LayerNorm layers: "trunc_normal", "xavier_uniform" or "default".
        gradient_checkpointing: Recompute blocks in the backward pass instead of keeping their activations.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: QkvBias = "full",
        position: PositionUse = "once",
        norm: NormPlacement = "pre",
        norm_eps: float = 1e-6,
        final_norm: bool = True,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        activation: str = "gelu",
        class_token: bool = False,
        class_position: ClassPosition = True,
        input_norm: bool = False,
        input_dropout: float = 0.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        layer_drop: float = 0.0,
        initialization: Initialization = "trunc_normal",
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if position not in ("once", "every_block", "none"):
            raise ConfigError(f'ViT: position must be "once", "every_block" or "none", got {position!r}')
        self.embed_dim = embed_dim
        self.depth = depth
        self.position = position
        self.layer_drop = layer_drop
        self.gradient_checkpointing = gradient_checkpointing
        self.blocks = nn.ModuleList(
            Block(
                embed_dim,
                num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                norm=norm,
                norm_eps=norm_eps,
                layer_scale=layer_scale,
                drop_path=rate,
                activation=activation,
                dropout=dropout,
                attention_dropout=attention_dropout,
            )
            for rate in drop_path_schedule(drop_path, depth)
        )
        self.norm = nn.LayerNorm(embed_dim, norm_eps) if final_norm else nn.Identity()
        self.input_norm = nn.LayerNorm(embed_dim, norm_eps) if input_norm else nn.Identity()
        self.input_dropout = nn.Dropout(input_dropout)
        initialize(self, initialization)
        self.class_token = learned_token(embed_dim) if class_token else None
        with_position = class_token and position != "none"
        self.class_position = class_position_row(embed_dim, class_position if with_position else False)

    def forward(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        offsets: Tensor | None = None,
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Encode tokens.

        Args:
            tokens: [B, N, C], or packed [T, C].
            positions: Their position embeddings, same shape; not needed with ``position="none"``.
            offsets: int64 [B + 1] of packed tokens.
            allowed: bool [B, N, N] for dense tokens: which others (last axis) each token sees. The class token sees
                all and is seen by all.
            bias: [B or 1, H, N, N] for dense tokens, added to the similarities of every block; 0 for the class token.

        Returns:
            [B, N, C] or [T, C]; with a class token one more row per sample, the first of each.
        """
        return self.norm(self.encode(tokens, positions, offsets, allowed, bias))

    def encode(
        self,
        tokens: Tensor,
        positions: Tensor | None = None,
        offsets: Tensor | None = None,
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """As ``forward``, without the final norm."""
        return self._run(tokens, positions, offsets, self.depth, allowed=allowed, bias=bias)[0]

    def intermediate(
        self, tokens: Tensor, positions: Tensor | None, layers: Sequence[int], offsets: Tensor | None = None
    ) -> list[Tensor]:
        """Outputs of the blocks with indices ``layers`` (0 is the first), each through the final norm."""
        wanted = [index % self.depth for index in layers]
        kept = self._run(tokens, positions, offsets, max(wanted) + 1, wanted)[1]
        return [self.norm(kept[index]) for index in wanted]

    def branches(
        self,
        tokens: Tensor,
        positions: Tensor | None,
        layers: Sequence[int],
        *,
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> list[Tensor]:
        """What the MLPs of the blocks with indices ``layers`` give, see :meth:`Block.with_branch`."""
        wanted = [index % self.depth for index in layers]
        run = self._run(tokens, positions, None, max(wanted) + 1, wanted, allowed, bias, branches=True)
        return [run[1][index] for index in wanted]

    def _run(
        self,
        tokens: Tensor,
        positions: Tensor | None,
        offsets: Tensor | None,
        depth: int,
        keep: Sequence[int] = (),
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
        *,
        branches: bool = False,
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Output of block ``depth - 1``, and of the blocks ``keep`` what they give (``branches``: their MLPs)."""
        packing = None if offsets is None else Packing.from_offsets(offsets)
        positions = self._check_positions(tokens, positions)
        x, positions, packing = self._prepend_class_token(tokens, positions, packing)
        if allowed is not None and self.class_token is not None:
            allowed = nn.functional.pad(allowed, (1, 0, 1, 0), value=True)
        if bias is not None and self.class_token is not None:
            bias = nn.functional.pad(bias, (1, 0, 1, 0))
        kept: dict[int, Tensor] = {}
        for index, block in enumerate(self.blocks[:depth]):
            if positions is not None and (index == 0 or self.position == "every_block"):
                x = x + positions
            if index == 0:
                x = self.input_dropout(self.input_norm(x))
            if self.training and self.layer_drop and torch.rand(()).item() < self.layer_drop:
                continue
            if branches:
                x, branch = block.with_branch(x, packing, allowed=allowed, bias=bias)
            elif self.gradient_checkpointing and self.training:
                x = checkpoint(block, x, packing, None, allowed, bias, use_reentrant=False)
            else:
                x = block(x, packing, allowed=allowed, bias=bias)
            if index in keep:
                kept[index] = branch if branches else x
        return x, kept

    def _check_positions(self, tokens: Tensor, positions: Tensor | None) -> Tensor | None:
        if self.position == "none":
            return None
        if positions is None:
            raise ValueError(f'ViT with position="{self.position}" needs position embeddings, got None')
        return positions.expand_as(tokens)

    def _prepend_class_token(
        self, tokens: Tensor, positions: Tensor | None, packing: Packing | None
    ) -> tuple[Tensor, Tensor | None, Packing | None]:
        if self.class_token is None:
            return tokens, positions, packing
        place = torch.zeros_like(self.class_token) if self.class_position is None else self.class_position
        if packing is None:
            x = _prepend(self.class_token, tokens)
            return x, None if positions is None else _prepend(place, positions), None
        packing, heads, rows = packing.prepend(1)
        x = _insert(self.class_token, tokens, heads, rows)
        return x, None if positions is None else _insert(place, positions, heads, rows), packing


def learned_token(dim: int) -> nn.Parameter:
    """A learned token or position, [1, 1, dim], normal with std 0.02."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, dim), std=0.02))


def class_position_row(dim: int, kind: ClassPosition) -> nn.Parameter | None:
    """Position of a class token, see :class:`ViT`."""
    if kind == "fixed":
        return nn.Parameter(torch.zeros(1, 1, dim), requires_grad=False)
    return learned_token(dim) if kind else None


def _prepend(token: Tensor, tokens: Tensor) -> Tensor:
    return torch.cat((token.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens), dim=1)


def _insert(token: Tensor, tokens: Tensor, heads: Tensor, rows: Tensor) -> Tensor:
    """Packed tokens at ``rows`` and copies of ``token`` at ``heads`` of one new packed tensor."""
    size = rows.shape[0] + heads.numel()
    wide = tokens.new_zeros(size, tokens.shape[1]).index_copy(0, rows, tokens)
    copies = token.reshape(1, -1).expand(heads.numel(), -1).to(tokens.dtype)
    return wide.index_copy(0, heads.flatten(), copies)
