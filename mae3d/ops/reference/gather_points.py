"""Rows by index in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """Rows [B, M, C] of ``features`` [B, N, C]; ``indices`` [B, M] int64, -1 gives zeros."""
    if features.shape[1] == 0:
        return features.new_zeros(*indices.shape, features.shape[2])
    cloud = torch.arange(features.shape[0], device=features.device)[:, None]
    rows = features[cloud, indices.clamp(min=0)]
    return rows.masked_fill((indices < 0)[..., None], 0)


def gather_points_backward(gradient: Tensor, indices: Tensor, num_points: int) -> Tensor:
    """Gradient [B, N, C] of the features from that of the rows [B, M, C]."""
    batch, _, channels = gradient.shape
    wide = gradient.dtype if gradient.dtype == torch.float64 else torch.float32
    sums = gradient.new_zeros(batch, num_points + 1, channels, dtype=wide)  # the last row takes what has index -1
    target = torch.where(indices < 0, num_points, indices)[..., None].expand(-1, -1, channels)
    return sums.scatter_add_(1, target, gradient.to(wide))[:, :num_points].to(gradient.dtype)
