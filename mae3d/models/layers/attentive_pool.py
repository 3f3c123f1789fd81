"""One vector of many tokens, by attention of a learned query."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers.attention import attention
from mae3d.models.layers.initialization import initialize
from mae3d.models.layers.mlp import Mlp


class AttentivePool(nn.Module):
    """A transformer block whose only query is learned (the attentive probe of V-JEPA, arXiv 2404.08471).

    Args:
        dim: Width C.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over C.
    """

    def __init__(self, dim: int, num_heads: int = 12, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"AttentivePool: dim {dim} must be a multiple of num_heads {num_heads}")
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(dim, 1e-6)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, 1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        initialize(self, "trunc_normal")
        self.token = nn.Parameter(nn.init.trunc_normal_(self.norm1.weight.new_empty(1, 1, dim), std=0.02))

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, N, C] -> [B, C]."""
        key, value = self.key_value(self.norm1(tokens)).chunk(2, dim=-1)
        query = self.query(self.token).expand(len(tokens), -1, -1)
        rows = (part.unflatten(-1, (self.num_heads, -1)) for part in (query, key, value))
        pooled = self.token + self.proj(attention(*rows).flatten(-2))
        return (pooled + self.mlp(self.norm2(pooled)))[:, 0]
