"""Rows of clouds by index: what follows every neighbour search."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae3d.ops import _checks
from mae3d.ops._library import define
from mae3d.ops.reference import gather_points as reference


def _fake(features: Tensor, indices: Tensor) -> Tensor:
    return features.new_empty(*indices.shape, features.shape[2])


def _fake_backward(gradient: Tensor, indices: Tensor, num_points: int) -> Tensor:
    return gradient.new_empty(gradient.shape[0], num_points, gradient.shape[2])


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    features, indices = inputs
    ctx.save_for_backward(indices)
    ctx.num_points = features.shape[1]


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    (indices,) = ctx.saved_tensors
    return _scatter(gradient, indices, ctx.num_points), None


def _save_indices(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _double_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (indices,) = ctx.saved_tensors
    return _gather(gradient, indices), None, None


_gather = define(
    "gather_points(Tensor features, Tensor indices) -> Tensor",
    reference=reference.gather_points,
    fake=_fake,
    setup_context=_save,
    backward=_backward,
)
_scatter = define(
    "gather_points_backward(Tensor gradient, Tensor indices, SymInt num_points) -> Tensor",
    reference=reference.gather_points_backward,
    fake=_fake_backward,
    setup_context=_save_indices,
    backward=_double_backward,
)


def gather_points(features: Tensor, indices: Tensor) -> Tensor:
    """Rows of every cloud by index.

    Args:
        features: [B, N, C] of any dtype; a float dtype is differentiable, with the same gradient bits in every run.
        indices: [B, ...] int64 rows of the cloud; -1 (the padding of neighbour searches) gives zeros.

    Returns:
        [B, ..., C] of the dtype of ``features``.

    Raises:
        OperatorInputError: Wrong shape, dtype or device.
        RuntimeError: An index outside the cloud (CPU; on a GPU, which is not waited for, it gives zeros).
    """
    op = "gather_points"
    _checks.check_tensor(op, "features", features, (None, None, None))
    batch, _, channels = features.shape
    _checks.check_tensor(op, "indices", indices, (batch, *[None] * (indices.dim() - 1)), (torch.int64,))
    _checks.check_same_device(op, features=features, indices=indices)
    rows = _gather(features, indices.reshape(batch, indices.numel() // batch if batch else 0))
    return rows.reshape(*indices.shape, channels)


def gather_rows(features: Tensor, indices: Tensor) -> Tensor:
    """Rows of a packed batch by global index.

    Args:
        features: [T, C] of any dtype.
        indices: [...] int64 rows of ``features``; -1 gives zeros.

    Returns:
        [..., C]; gradient and errors as for :func:`gather_points`.
    """
    op = "gather_rows"
    _checks.check_tensor(op, "features", features, (None, None))
    _checks.check_tensor(op, "indices", indices, (None,) * indices.dim(), (torch.int64,))
    _checks.check_same_device(op, features=features, indices=indices)
    return _gather(features[None], indices.reshape(1, -1)).reshape(*indices.shape, features.shape[1])


def group_points(points: Tensor, indices: Tensor, centers: Tensor | None = None) -> Tensor:
    """Neighbourhoods of every cloud, relative to their centers if these are given.

    Args:
        points: [B, N, C] floats: coordinates or features.
        indices: [B, G, K] int64 rows of the cloud, -1 for a missing neighbour.
        centers: [B, G, C], subtracted from each neighbour that is not missing.

    Returns:
        [B, G, K, C]; zeros where a neighbour is missing. Differentiable in ``points`` and ``centers``.

    Raises:
        OperatorInputError, RuntimeError: As for :func:`gather_points`.
    """
    op = "group_points"
    _checks.check_tensor(op, "points", points, (None, None, None))
    batch, _, channels = points.shape
    _checks.check_tensor(op, "indices", indices, (batch, None, None), (torch.int64,))
    neighbours = gather_points(points, indices)
    if centers is None:
        return neighbours
    _checks.check_tensor(op, "centers", centers, (batch, indices.shape[1], channels), (points.dtype,))
    _checks.check_same_device(op, points=points, centers=centers)
    return torch.where((indices >= 0)[..., None], neighbours - centers[:, :, None], 0)
