"""One transformer block."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers.attention import Attention, CrossAttention, QkvBias, Similarity
from mae3d.models.layers.drop_path import DropPath
from mae3d.models.layers.mlp import Mlp
from mae3d.models.layers.packing import JointPacking, Packing

NormPlacement = Literal["pre", "post", "residual"]


class LayerScale(nn.Module):
    """Learned gain per channel on a residual branch."""

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """[..., C] -> [..., C]."""
        return x * self.gamma


class Block(nn.Module):
    """Attention and MLP, each in a residual branch.

    Args:
        dim: Width C.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over C.
        qkv_bias: See :class:`Attention`.
        norm: Where LayerNorm sits: "pre" x + f(norm(x)), "post" norm(x + f(x)), "residual" x + norm(f(x)).
        norm_eps: Its epsilon.
        layer_scale: Initial gain of both branches, None for no gain.
        drop_path: Rate of both branches, drawn separately.
        activation: See :class:`Mlp`.
        similarity: See :class:`Attention`.
        dropout: Rate behind attention and MLP, per value.
        attention_dropout: Rate of attention weights.
        attention: Module in place of :class:`Attention`, called in the same way.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        qkv_bias: QkvBias = "full",
        norm: NormPlacement = "pre",
        norm_eps: float = 1e-6,
        layer_scale: float | None = None,
        drop_path: float = 0.0,
        activation: str = "gelu",
        similarity: Similarity = "dot",
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if norm not in ("pre", "post", "residual"):
            raise ConfigError(f'Block: norm must be "pre", "post" or "residual", got {norm!r}')
        self.norm_placement = norm
        self.norm1 = nn.LayerNorm(dim, norm_eps)
        if attention is None:
            attention = Attention(dim, num_heads, qkv_bias, similarity, dropout=attention_dropout)
        self.attn = attention
        self.norm2 = nn.LayerNorm(dim, norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), activation)
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Tensor,
        packing: Packing | None = None,
        position: Tensor | None = None,
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Tokens [B, N, C] or packed [T, C] -> same shape; the other arguments as in :class:`Attention`."""
        return self.with_branch(x, packing, position, allowed, bias)[0]

    def with_branch(
        self,
        x: Tensor,
        packing: Packing | None = None,
        position: Tensor | None = None,
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`forward`, and what the MLP gave, before gain, dropout, residual and norm."""

        def attend(y: Tensor) -> Tensor:
            return self.dropout(self.attn(y, packing, position, allowed, bias))

        if self.norm_placement == "pre":
            x = x + self.drop_path(self.ls1(attend(self.norm1(x))), packing)
            branch = self.mlp(self.norm2(x))
            return x + self.drop_path(self.ls2(self.dropout(branch)), packing), branch
        if self.norm_placement == "post":
            x = self.norm1(x + self.drop_path(self.ls1(attend(x)), packing))
            branch = self.mlp(x)
            return self.norm2(x + self.drop_path(self.ls2(self.dropout(branch)), packing)), branch
        x = x + self.drop_path(self.ls1(self.norm1(attend(x))), packing)
        branch = self.mlp(x)
        return x + self.drop_path(self.ls2(self.norm2(self.dropout(branch))), packing), branch


class CrossBlock(nn.Module):
    """A post-norm block whose attention asks another set of tokens. Names are those of :class:`Block`.

    Args:
        dim: Width C of both sets.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over C.
        norm_eps: Epsilon of LayerNorm.
        similarity: See :class:`Attention`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 2.0,
        norm_eps: float = 1e-5,
        similarity: Similarity = "cosine",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, norm_eps)
        self.attn = CrossAttention(dim, num_heads, similarity=similarity)
        self.norm2 = nn.LayerNorm(dim, norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        rows: Tensor,
        joint: JointPacking,
        position: Tensor,
        memory_position: Tensor,
    ) -> Tensor:
        """One layer.

        Args:
            x: [T, C], all tokens.
            memory: [Tk, C], packed by ``joint.key``.
            rows: int64 [Tq], the tokens that have somebody to ask, in the order of ``joint.query``. All others pass
                both norms and the MLP without an attention term.
            joint: Layout of both sets.
            position: [Tq, C], of the tokens ``rows``.
            memory_position: [Tk, C].

        Returns:
            [T, C].
        """
        asked = self.attn(x[rows], memory, joint, position, memory_position)
        x = self.norm1(x.index_add(0, rows, asked.to(x.dtype)))
        return self.norm2(x + self.mlp(x))
