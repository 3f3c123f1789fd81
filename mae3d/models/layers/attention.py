"""Multi-head attention over dense or packed tokens.

:func:`attention` and, for two sets of tokens, :func:`cross_attention` are the places that compute a softmax of
similarities; every backbone goes through them.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.layers.packing import JointPacking, Packing

QkvBias = Literal["none", "q_v", "full"]
Similarity = Literal["dot", "cosine"]
LOWEST_TAU = 0.01
"""Lowest divisor of cosine similarity."""


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    packing: Packing | None = None,
    allowed: Tensor | None = None,
    bias: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Scaled dot-product attention, scale 1 / sqrt(D), within each sample.

    Args:
        query: [B, N, H, D], or packed [T, H, D].
        key: Same shape.
        value: Same shape.
        packing: Layout of packed rows, None for dense ones. Packed rows are padded only where ``allowed`` is given and,
            on a GPU, where ``dropout`` is, which the kernels without padding lack.
        allowed: bool [B, N, N]: which keys (last axis) each query sees; every query needs one. N is the length of the
            longest sample for packed rows. None: all.
        bias: [B or 1, H, N, N] for dense rows, added to the scaled similarities; None: nothing.
        dropout: Rate at which attention weights are dropped.

    Returns:
        Same shape as ``query``.

    Raises:
        ConfigError: A bias for packed rows.
    """
    if packing is None:
        heads_first = (x.transpose(1, 2) for x in (query, key, value))
        mask = _additive(query, allowed, bias)
        return F.scaled_dot_product_attention(*heads_first, attn_mask=mask, dropout_p=dropout).transpose(1, 2)
    if bias is not None:
        raise ConfigError("attention: bias needs dense tokens [B, N, C], got packed ones")
    if query.shape[0] == 0:
        return query
    if allowed is not None or (dropout and query.is_cuda):
        return _masked(query, key, value, packing, allowed, dropout)
    if not query.is_cuda:
        return _per_run(query, key, value, packing, dropout)
    if query.dtype in (torch.float16, torch.bfloat16):
        return _variable_length(query, key, value, packing)
    return _jagged(query, key, value, packing)


def _additive(query: Tensor, allowed: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """What torch takes as mask: bool [B, 1, N, N], or numbers to add [B or 1, H, N, N]."""
    mask = None if allowed is None else allowed.unsqueeze(1)
    if bias is None:
        return mask
    bias = bias.to(query.dtype)
    return bias if mask is None else bias.masked_fill(~mask, -torch.inf)


def _masked(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, allowed: Tensor | None, dropout: float
) -> Tensor:
    """One dense call over samples padded to the longest; real rows never see padding."""
    filled = torch.arange(packing.max_length, device=query.device) < packing.offsets.diff()[:, None]  # [B, N]
    seen = filled[:, None] if allowed is None else allowed & filled[:, None]
    seen = seen | ~filled[:, :, None]  # padding sees everything: a row without any key has no softmax
    return packing.unpad(attention(*map(packing.pad, (query, key, value)), allowed=seen, dropout=dropout))


def _per_run(query: Tensor, key: Tensor, value: Tensor, packing: Packing, dropout: float) -> Tensor:
    """One dense call per run of samples of equal length: on a CPU faster than padding and than jagged kernels."""
    runs = [(length, samples) for length, samples in packing.runs if length]
    sizes = [length * samples for length, samples in runs]
    results = []
    for (length, samples), *rows in zip(runs, *(x.split(sizes) for x in (query, key, value))):
        heads = (x.unflatten(0, (samples, length)) for x in rows)
        results.append(attention(*heads, dropout=dropout).flatten(0, 1))
    return torch.cat(results)


def _variable_length(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, key_packing: Packing | None = None
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    keys = packing if key_packing is None else key_packing
    offsets = (side.offsets.to(torch.int32) for side in (packing, keys))
    rows = pad_heads(query, key, value)
    return varlen_attn(*rows, *offsets, packing.max_length, keys.max_length)[..., : query.shape[-1]]


def pad_heads(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Widen heads [..., D] by zeros to the multiple of 8 that kernels ask for; the first D results stay the same."""
    width = query.shape[-1]
    extra = -width % 8
    if not extra:
        return query, key, value
    # The scale is the root of the width: undo the change.
    query, key, value = (F.pad(x, (0, extra)) for x in (query * ((width + extra) / width) ** 0.5, key, value))
    return query, key, value


def _jagged(query: Tensor, key: Tensor, value: Tensor, packing: Packing) -> Tensor:
    def nest(rows: Tensor) -> Tensor:
        nested = torch.nested.nested_tensor_from_jagged(rows, packing.offsets, max_seqlen=packing.max_length)
        return nested.transpose(1, 2)

    nested = F.scaled_dot_product_attention(nest(query), nest(key), nest(value))
    return nested.transpose(1, 2).values()


def cross_attention(query: Tensor, key: Tensor, value: Tensor, joint: JointPacking) -> Tensor:
    """As :func:`attention`, from the tokens of one set to those of another, within each window.

    Args:
        query: [Tq, H, D], packed by ``joint.query``.
        key: [Tk, H, D], packed by ``joint.key``.
        value: Same shape as ``key``.
        joint: Layout of both; every window holds a row of each.

    Returns:
        [Tq, H, D].
    """
    if query.shape[0] == 0:
        return query
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        return _variable_length(query, key, value, joint.query, joint.key)
    return _padded(query, key, value, joint)


def _padded(query: Tensor, key: Tensor, value: Tensor, joint: JointPacking) -> Tensor:
    """One dense call per bucket of windows, padded to the bucket's length: a window's two counts rarely agree."""
    slots = joint.slots
    sizes = [length * windows for length, windows in slots.buckets]

    def spread(rows: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        return rows.new_zeros(sum(sizes), *rows.shape[1:]).index_copy(0, places, rows).split(sizes)

    sides = spread(query, slots.query), spread(key, slots.key), spread(value, slots.key)
    results = []
    for (length, windows), filled, *rows in zip(slots.buckets, slots.filled.split(sizes), *sides):
        heads = (part.unflatten(0, (windows, length)).transpose(1, 2) for part in rows)  # each [W, H, L, D]
        mask = filled.view(windows, 1, 1, length)
        results.append(F.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(0, 1))
    return torch.cat(results)[slots.query]


class Attention(nn.Module):
    """Self-attention with one fused projection.

    Args:
        dim: Width C.
        num_heads: Heads H; D = C / H.
        qkv_bias: "none", "full" (one bias of 3 C), or "q_v" (separate ``q_bias`` and ``v_bias``, the key has
            none), the three forms published ViTs use.
        similarity: "dot" is scaled by 1 / sqrt(D). "cosine" compares directions and divides by one learned ``tau`` of
            at least ``LOWEST_TAU`` (Swin v2; SST with ``cosine=True``).
        dropout: Rate at which attention weights are dropped in training.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: QkvBias = "full",
        similarity: Similarity = "dot",
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ConfigError(f"Attention: dim {dim} must be a multiple of num_heads {num_heads}")
        if qkv_bias not in ("none", "q_v", "full"):
            raise ConfigError(f'Attention: qkv_bias must be "none", "q_v" or "full", got {qkv_bias!r}')
        if similarity not in ("dot", "cosine"):
            raise ConfigError(f'Attention: similarity must be "dot" or "cosine", got {similarity!r}')
        self.num_heads = num_heads
        self.dropout = dropout
        self.tau = nn.Parameter(torch.ones(1, 1, 1)) if similarity == "cosine" else None
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
        bias: Tensor | None = None,
    ) -> Tensor:
        """Tokens [B, N, C] or packed [T, C] -> same shape.

        ``position``, of the shape of ``x``, is added to what queries and keys are made of, not to the values;
        ``allowed`` and ``bias`` as in :func:`attention`.
        """
        return self._attend(*self._project(x, position), packing, allowed, bias)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, *layout: Packing | Tensor | None) -> Tensor:
        """From projected rows [..., C] to the output; ``layout`` is packing, allowed and bias of :func:`attention`."""
        dropout = self.dropout if self.training else 0.0
        return self.proj(attention(*self._heads(query, key, value), *layout, dropout=dropout).flatten(-2))

    def _heads(self, *rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [..., C] -> [..., H, D], so scaled that their dot products are the similarity."""
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)) for part in rows)
        if self.tau is None:
            return query, key, value
        tau = self.tau.clamp(min=LOWEST_TAU).view(-1, 1)  # one, or one for each head
        sharpness = query.shape[-1] ** 0.5 / tau  # undoes the 1 / sqrt(D) of the softmax
        query, key = F.normalize(query, dim=-1) * sharpness, F.normalize(key, dim=-1)  # float32 under autocast
        return query.to(value.dtype), key.to(value.dtype), value

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


class CrossAttention(Attention):
    """Attention from tokens to those of another set, with the projections and names of :class:`Attention`."""

    def forward(
        self, x: Tensor, memory: Tensor, joint: JointPacking, position: Tensor, memory_position: Tensor
    ) -> Tensor:
        """Tokens [Tq, C] and memory [Tk, C], packed by ``joint`` -> [Tq, C].

        Positions, of the shapes of both, are added to what queries and keys are made of, not to the values.
        """
        weights, biases = self.qkv.weight.chunk(3), self.qkv.bias.chunk(3)
        inputs = (x + position, memory + memory_position, memory)
        query, key, value = (F.linear(*arguments) for arguments in zip(inputs, weights, biases))
        return self.proj(cross_attention(*self._heads(query, key, value), joint).flatten(-2))


class MemoryAttention(Attention):
    """Attention whose keys and values are made of other rows than its queries; names of :class:`Attention`."""

    def forward(
        self,
        x: Tensor,
        memory: Tensor,
        packing: Packing | None = None,
        allowed: Tensor | None = None,
        memory_position: Tensor | None = None,
    ) -> Tensor:
        """Rows that ask [B, N, C], and rows that are asked [B, M, C] -> [B, N, C]; or both packed alike [T, C].

        ``memory_position``, of the shape of ``memory``, is added to what keys are made of, not to the values.
        """
        split = x.shape[-1]
        query = F.linear(x, self.qkv.weight[:split], self.qkv.bias[:split])
        weight, bias = self.qkv.weight[split:], self.qkv.bias[split:]
        if memory_position is None:
            key, value = F.linear(memory, weight, bias).chunk(2, dim=-1)
        else:
            key = F.linear(memory + memory_position, weight[:split], bias[:split])
            value = F.linear(memory, weight[split:], bias[split:])
        return self._attend(query, key, value, packing, allowed)
