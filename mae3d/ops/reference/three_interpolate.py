"""Reference of ``three_interpolate``: gather, weigh, sum."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.ops.reference.knn import global_rows


def _gathered(features: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Feature rows [R, K, C] and the rows [R, K] they came from; zeros where the index is negative."""
    rows = global_rows(indices, features.shape[1] if features.dim() == 3 else None).reshape(-1, indices.shape[-1])
    flat = features.reshape(-1, features.shape[-1])
    if len(flat) == 0:
        return flat.new_zeros(*rows.shape, flat.shape[1]), rows
    return torch.where((rows >= 0)[..., None], flat[rows.clamp(min=0)], 0.0), rows


def three_interpolate(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of feature rows, as in ``csrc/three_interpolate/three_interpolate.h``."""
    gathered, rows = _gathered(features, indices)
    result = (weights.reshape(rows.shape)[..., None] * gathered.to(weights.dtype)).sum(1)
    return result.to(features.dtype).reshape(*indices.shape[:-1], features.shape[-1])


def three_interpolate_backward(
    grad: Tensor, features: Tensor, indices: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients in features and weights."""
    gathered, rows = _gathered(features, indices)
    grad = grad.reshape(-1, 1, features.shape[-1]).to(weights.dtype)  # [R, 1, C]
    grad_weights = (grad * gathered.to(weights.dtype)).sum(-1).reshape(weights.shape)
    valid = rows >= 0
    pull = (weights.reshape(rows.shape)[..., None] * grad)[valid]
    grad_features = grad.new_zeros(features.shape).reshape(-1, features.shape[-1]).index_add_(0, rows[valid], pull)
    return grad_features.to(features.dtype).reshape(features.shape), grad_weights
