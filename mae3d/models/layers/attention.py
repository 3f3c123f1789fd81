"""Multi-head self-attention over dense or packed tokens.

:func:`attention` is the one place that computes a softmax of similarities; every backbone goes through it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.layers.packing import Packing

QkvBias = Literal["none", "q_v", "full"]


def attention(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing | None = None, allowed: Tensor | None = None
) -> Tensor:
    """Scaled dot-product attention, scale 1 / sqrt(D), within each sample.

    Args:
        query: [B, N, H, D], or packed [T, H, D].
        key: Same shape.
        value: Same shape.
        packing: Layout of packed rows, None for dense ones. Packed rows are never padded.
        allowed: bool [B, N, N] for dense rows: which keys (last axis) each query sees; every query needs one. None:
            all.

    Returns:
        Same shape as ``query``.
    """
    if packing is None:
        heads_first = (x.transpose(1, 2) for x in (query, key, value))
        mask = None if allowed is None else allowed.unsqueeze(1)
        return F.scaled_dot_product_attention(*heads_first, attn_mask=mask).transpose(1, 2)
    if query.shape[0] == 0:
        return query
    if not query.is_cuda:
        return _per_run(query, key, value, packing)
    if query.dtype in (torch.float16, torch.bfloat16):
        return _variable_length(query, key, value, packing)
    return _jagged(query, key, value, packing)


def _per_run(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    """One dense call per run of samples of equal length: on a CPU faster than padding and than jagged kernels."""
    runs = [(length, samples) for length, samples in packing.runs if length]
    sizes = [length * samples for length, samples in runs]
    results = []
    for (length, samples), *rows in zip(runs, *(x.split(sizes) for x in (query, key, value))):
        results.append(attention(*(x.unflatten(0, (samples, length)) for x in rows)).flatten(0, 1))
    return torch.cat(results)


def _variable_length(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    offsets = packing.offsets.to(torch.int32)
    longest = packing.max_length
    return varlen_attn(query, key, value, offsets, offsets, longest, longest)


def _jagged(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    def nest(rows: Tensor) -> Tensor:
        nested = torch.nested.nested_tensor_from_jagged(rows, packing.offsets, max_seqlen=packing.max_length)
        return nested.transpose(1, 2)

    nested = F.scaled_dot_product_attention(nest(query), nest(key), nest(value))
    return nested.transpose(1, 2).values()


class Attention(nn.Module):
    """Self-attention with one fused projection.

    Args:
        dim: Width C.
        num_heads: Heads H; D = C / H.
        qkv_bias: "none", "full" (one bias of 3 C), or "q_v" (separate ``q_bias`` and ``v_bias``, the key has
            none), the three forms published ViTs use.
    """

    def __init__(self, dim: int, num_heads: int, qkv_bias: QkvBias = "full") -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"Attention: dim {dim} must be a multiple of num_heads {num_heads}")
        if qkv_bias not in ("none", "q_v", "full"):
            raise ConfigError(f'Attention: qkv_bias must be "none", "q_v" or "full", got {qkv_bias!r}')
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias == "full")
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias == "q_v" else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias == "q_v" else None
        self.proj = nn.Linear(dim, dim)

    def forward(
        self,
        x: Tensor,
        packing: Packing | None = None,
        position: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """Tokens [B, N, C] or packed [T, C] -> same shape.

        ``position``, of the shape of ``x``, is added to what queries and keys are made of, not to the values;
        ``allowed`` as in :func:`attention`.
        """
        rows = (part.unflatten(-1, (self.num_heads, -1)) for part in self._project(x, position))  # each [..., H, D]
        return self.proj(attention(*rows, packing, allowed).flatten(-2))

    def _project(self, x: Tensor, position: Tensor | None) -> tuple[Tensor, ...]:
        """Queries, keys and values, each [..., C]."""
        weight, bias = self.qkv.weight, self.qkv.bias
        if self.q_bias is not None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        if position is None:
            return F.linear(x, weight, bias).chunk(3, dim=-1)
        split = 2 * x.shape[-1]
        head, tail = (None, None) if bias is None else (bias[:split], bias[split:])
        both = F.linear(x + position, weight[:split], head)
        return *both.chunk(2, dim=-1), F.linear(x, weight[split:], tail)
