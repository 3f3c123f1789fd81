"""Normals and surface variation of clouds, by the principal axes of each point's neighbourhood."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.ops import _checks
from mae3d.ops.gather_points import group_points
from mae3d.ops.knn import knn


class LocalSurface(NamedTuple):
    """What the neighbourhood of each point says about the surface there.

    Attributes:
        normals: [B, N, 3], unit length, the axis of least spread; which of its two sides is arbitrary.
        variation: [B, N] in [0, 1/3]: least of the three spreads over their sum; 0 on a plane.
    """

    normals: Tensor
    variation: Tensor


@torch.no_grad()
def local_surface(points: Tensor, k: int = 128) -> LocalSurface:
    """Principal axes of the ``k`` nearest neighbours of each point, itself among them.

    The eigenvalues w0 <= w1 <= w2 of the neighbours' scatter about their mean give the variation w0 / (w0 + w1 + w2)
    (Pauly, Gross and Kobbelt, "Efficient Simplification of Point-Sampled Surfaces", VIS 2002, section 2.1). Computed in
    float64, without gradient.

    Args:
        points: [B, N, 3], see :func:`knn`.
        k: Neighbours, 1 to 128 and at most N. Where they all lie in one place the variation is 0.

    Returns:
        ``LocalSurface`` in float32.

    Raises:
        OperatorInputError: As for :func:`knn`.
    """
    found = knn(points, k=k)
    _checks.check_range("local_surface", "k", k, 1, points.shape[1])
    neighbours = group_points(points.float(), found.indices).double()  # [B, N, k, 3]
    centered = neighbours - neighbours.mean(dim=2, keepdim=True)
    spread, axes = torch.linalg.eigh(centered.mT @ centered)  # ascending
    total = spread.sum(dim=-1)
    variation = spread[..., 0].clamp(min=0) / total.where(total > 0, 1)
    return LocalSurface(axes[..., 0].float(), variation.float())
