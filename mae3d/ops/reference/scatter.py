"""Scatter reductions by torch's own; see ``csrc/scatter/scatter.h`` for the contract."""

from __future__ import annotations

import torch
from torch import Tensor


def scatter_reduce(
    features: Tensor, index: Tensor, num_rows: int, reduce: str, with_arg: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Reduced rows, rows joined, and (max, min) the first winner per channel."""
    kept = ((index >= 0) & (index < num_rows)).nonzero().squeeze(1)
    target = index[kept]
    wide = features[kept].to(torch.promote_types(features.dtype, torch.float32))
    counts = torch.bincount(target, minlength=num_rows)
    shape = (num_rows, features.shape[1])
    no_arg = index.new_empty((0, features.shape[1]), dtype=torch.int32)
    if reduce in ("sum", "mean"):
        out = wide.new_zeros(shape).index_add(0, target, wide)
        if reduce == "mean":
            out = out / counts.clamp(min=1)[:, None]
        return out.to(features.dtype), counts, no_arg
    columns = target[:, None].expand_as(wide)
    out = wide.new_zeros(shape).scatter_reduce(0, columns, wide, f"a{reduce}", include_self=False)
    if not with_arg:
        return out.to(features.dtype), counts, no_arg
    won = (wide == out[target]) | (wide.isnan() & out[target].isnan())
    none = len(features)
    candidates = torch.where(won, kept[:, None], none)
    first = kept.new_full(shape, none).scatter_reduce(0, columns, candidates, "amin")
    return out.to(features.dtype), counts, torch.where(first == none, -1, first).int()


def scatter_reduce_backward(grad: Tensor, index: Tensor, counts: Tensor, arg: Tensor, reduce: str) -> Tensor:
    """Gradient of the features."""
    kept = ((index >= 0) & (index < len(grad))).nonzero().squeeze(1)
    target = index[kept]
    rows = grad[target]
    if reduce == "mean":
        rows = (rows.to(torch.promote_types(grad.dtype, torch.float32)) / counts[target, None].clamp(min=1)).to(grad)
    if reduce in ("max", "min"):
        rows = torch.where(arg[target] == kept[:, None], rows, torch.zeros_like(rows))
    return grad.new_zeros(len(index), grad.shape[1]).index_copy(0, kept, rows)
