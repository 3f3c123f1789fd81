"""Gather the picked matrices, multiply, add up; see ``csrc/indexed_linear/indexed_linear.h`` for the contract."""

from __future__ import annotations

import torch
from torch import Tensor


def _wide(*tensors: Tensor) -> list[Tensor]:
    return [t.to(torch.promote_types(t.dtype, torch.float32)) for t in tensors]


def _kept(index: Tensor, group: Tensor, num_groups: int, num_weights: int) -> Tensor:
    inside = (group >= 0) & (group < num_groups) & (index >= 0) & (index < num_weights)
    return inside.nonzero().squeeze(1)


def _scale(grad: Tensor, counts: Tensor, mean: bool) -> Tensor:
    (wide,) = _wide(grad)
    return wide / counts.clamp(min=1)[:, None] if mean else wide


def indexed_linear(
    features: Tensor, weight: Tensor, index: Tensor, group: Tensor, num_groups: int, mean: bool
) -> tuple[Tensor, Tensor]:
    """Sums or means of the products, and the rows that joined each group."""
    kept = _kept(index, group, num_groups, weight.shape[0])
    wide, matrices = _wide(features[kept], weight[index[kept]])
    products = torch.bmm(wide.unsqueeze(1), matrices).squeeze(1)  # [M, D]
    out = products.new_zeros(num_groups, weight.shape[2]).index_add(0, group[kept], products)
    counts = torch.bincount(group[kept], minlength=num_groups)
    if mean:
        out = out / counts.clamp(min=1)[:, None]
    return out.to(weight.dtype), counts


def indexed_linear_feature_grad(
    grad: Tensor, weight: Tensor, index: Tensor, group: Tensor, counts: Tensor, mean: bool
) -> Tensor:
    """Gradient of the features."""
    kept = _kept(index, group, len(grad), weight.shape[0])
    rows = _scale(grad, counts, mean)[group[kept]]
    (matrices,) = _wide(weight[index[kept]])
    products = torch.bmm(matrices, rows.unsqueeze(2)).squeeze(2)  # [M, C]
    return products.new_zeros(len(index), weight.shape[1]).index_copy(0, kept, products).to(grad.dtype)


def indexed_linear_weight_grad(
    grad: Tensor, features: Tensor, index: Tensor, group: Tensor, counts: Tensor, num_weights: int, mean: bool
) -> Tensor:
    """Gradient of the weight."""
    kept = _kept(index, group, len(grad), num_weights)
    (wide,) = _wide(features[kept])
    products = wide.unsqueeze(2) * _scale(grad, counts, mean)[group[kept]].unsqueeze(1)  # [M, C, D]
    out = products.new_zeros(num_weights, features.shape[1], grad.shape[1])
    return out.index_add(0, index[kept], products).to(grad.dtype)
