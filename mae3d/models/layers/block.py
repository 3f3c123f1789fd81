"""One transformer block."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers.attention import Attention, QkvBias
from mae3d.models.layers.drop_path import DropPath
from mae3d.models.layers.mlp import Mlp
from mae3d.models.layers.packing import Packing

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
    ) -> None:
        super().__init__()
        if norm not in ("pre", "post", "residual"):
            raise ConfigError(f'Block: norm must be "pre", "post" or "residual", got {norm!r}')
        self.norm_placement = norm
        self.norm1 = nn.LayerNorm(dim, norm_eps)
        self.attn = Attention(dim, num_heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim, norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), activation)
        self.ls1 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.ls2 = nn.Identity() if layer_scale is None else LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(
        self,
        x: Tensor,
        packing: Packing | None = None,
        position: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """Tokens [B, N, C] or packed [T, C] -> same shape; ``position`` and ``allowed`` as in :class:`Attention`."""
        if self.norm_placement == "pre":
            x = x + self.drop_path(self.ls1(self.attn(self.norm1(x), packing, position, allowed)), packing)
            return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))), packing)
        if self.norm_placement == "post":
            x = self.norm1(x + self.drop_path(self.ls1(self.attn(x, packing, position, allowed)), packing))
            return self.norm2(x + self.drop_path(self.ls2(self.mlp(x)), packing))
        x = x + self.drop_path(self.ls1(self.norm1(self.attn(x, packing, position, allowed))), packing)
        return x + self.drop_path(self.ls2(self.norm2(self.mlp(x))), packing)
