"""Layers whose norms a condition shifts, scales and gates (adaLN-Zero of DiT, Peebles and Xie, arXiv 2212.09748)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.models.layers.attention import Attention
from mae3d.models.layers.grid_windows import GridWindows
from mae3d.models.layers.mixture import MixtureMlp
from mae3d.models.layers.mlp import Mlp
from mae3d.models.layers.packing import Packing

NORM_EPS = 1e-6


def zero_linear(inputs: int, outputs: int) -> nn.Linear:
    """A Linear that starts as the constant 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """``norm(x) (1 + scale) + shift``, the norm without weights of its own."""
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


def spread(modulation: Tensor, packing: Packing | None) -> Tensor:
    """One row per sample [B, C] -> one that broadcasts over its tokens: [B, 1, C], or packed [T, C]."""
    return modulation.unsqueeze(1) if packing is None else modulation[packing.sample]


class AdaptiveBlock(nn.Module):
    """Attention and feed-forward layer, each behind a modulated norm and before a gate that starts at 0.

    Args:
        dim: Width C.
        num_heads: Attention heads.
        condition_dim: Width of the condition.
        mlp: The feed-forward layer, an :class:`Mlp` or a :class:`MixtureMlp`.
        windows: Windows that attention stays inside, None for attention over all tokens.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        condition_dim: int,
        mlp: Callable[[], Mlp | MixtureMlp],
        windows: GridWindows | None = None,
    ) -> None:
        super().__init__()
        self.attn = Attention(dim, num_heads)
        self.mlp = mlp()
        self.modulation = zero_linear(condition_dim, 6 * dim)
        self.windows = windows

    def forward(self, x: Tensor, condition: Tensor, packing: Packing | None = None) -> tuple[Tensor, Tensor | None]:
        """Tokens [B, N, C] or packed [T, C], condition [B, D] -> tokens, and the routing where experts are mixed."""
        parts = spread(self.modulation(F.silu(condition)), packing).chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        x = x + gate1 * self._attend(modulate(x, shift1, scale1), packing)
        fed, routing = self.mlp(modulate(x, shift2, scale2)), None
        if isinstance(self.mlp, MixtureMlp):
            fed, routing = fed
        return x + gate2 * fed, routing

    def _attend(self, x: Tensor, packing: Packing | None) -> Tensor:
        if self.windows is None:
            return self.attn(x, packing)
        return self.windows(self.attn, x)


class AdaptiveHead(nn.Module):
    """Modulated norm and one linear layer, both starting at 0: a fresh model predicts 0.

    Args:
        dim: Width C.
        condition_dim: Width of the condition.
        outputs: Width of the result.
    """

    def __init__(self, dim: int, condition_dim: int, outputs: int) -> None:
        super().__init__()
        self.modulation = zero_linear(condition_dim, 2 * dim)
        self.linear = zero_linear(dim, outputs)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """[B, N, C] and [B, D] -> [B, N, outputs]."""
        shift, scale = spread(self.modulation(F.silu(condition)), None).chunk(2, dim=-1)
        return self.linear(modulate(x, shift, scale))
