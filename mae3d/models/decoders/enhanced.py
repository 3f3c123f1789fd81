"""RetroMAE's decoder: one post-norm layer whose queries and keys come from different rows."""

from __future__ import annotations

from torch import Tensor

from mae3d.models.layers import Block, Packing
from mae3d.models.layers.attention import MemoryAttention
from mae3d.registry import MODELS


@MODELS.register_module()
class EnhancedDecoder(Block):
    """norm2(y + mlp(y)) with y = norm1(query + attention(query, memory)).

    Names are those of :class:`Block`; with equal query and memory it is one.

    Args:
        dim: Width C.
        num_heads: Attention heads.
        mlp_ratio: Hidden width of the MLP over C.
        norm_eps: Epsilon of LayerNorm.
        dropout: See :class:`Block`.
        attention_dropout: See :class:`Block`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-12,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        attention = MemoryAttention(dim, num_heads, dropout=attention_dropout)
        options = {"mlp_ratio": mlp_ratio, "norm_eps": norm_eps, "dropout": dropout}
        super().__init__(dim, num_heads, norm="post", attention=attention, **options)

    def forward(self, query: Tensor, memory: Tensor, packing: Packing, seen: Tensor) -> Tensor:
        """One layer.

        Args:
            query: [T, C], what each position asks with; also the residual stream.
            memory: [T, C], what is asked.
            packing: Layout of both.
            seen: bool [B, L, L], which rows of the memory (last axis) each position sees.

        Returns:
            [T, C].
        """
        x = self.norm1(query + self.dropout(self.attn(query, memory, packing, seen)))
        return self.norm2(x + self.dropout(self.mlp(x)))
