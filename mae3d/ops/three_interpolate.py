"""Feature propagation of PointNet++: features of points spread to other places by inverse distance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae3d.ops import _checks
from mae3d.ops._library import define
from mae3d.ops.reference import three_interpolate as reference

_FEATURE_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def three_weights(squared_distances: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Weights of neighbours by inverse squared distance: ``1 / (d + epsilon)``, scaled to sum 1.

    The rule of PointNet++ feature propagation (Qi et al. 2017, section 3.4 with p = 2) and of the Point-MAE family's
    segmentation heads. A neighbour at infinite distance (padding) weighs 0; without any neighbour all weights are 0.

    Args:
        squared_distances: [..., K] float, as :func:`mae3d.ops.three_nn` returns them.
        epsilon: Keeps a point that coincides with its neighbour finite; in squared units of length.

    Returns:
        Weights [..., K], dtype of ``squared_distances``, differentiable.
    """
    _checks.check_range("three_weights", "epsilon", epsilon, 0.0)
    inverse = 1 / (squared_distances + epsilon)
    total = inverse.sum(-1, keepdim=True)
    return inverse / torch.where(total > 0, total, 1.0)


def three_interpolate(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    """Sum the feature rows of each query's neighbours, each times its weight.

    Dense clouds hold [B, N, C] features and [B, Q, K] indices into their own cloud; packed clouds hold [T, C] features
    and [R, K] indices of rows, as :func:`mae3d.ops.three_nn` returns them. K is 3 by convention, any number is allowed.

    Args:
        features: [B, N, C] or [T, C]; float32, float16, bfloat16 or float64.
        indices: [B, Q, K] or [R, K] int64; -1 contributes nothing.
        weights: Shape of ``indices``, float, see :func:`three_weights`.

    Returns:
        [B, Q, C] or [R, C], dtype of ``features``, summed in float32 (float64 for float64 features); differentiable in
        features and weights, with a deterministic backward pass.

    Raises:
        OperatorInputError: A tensor has the wrong shape, dtype or device.
    """
    op = "three_interpolate"
    dim = features.dim() if isinstance(features, Tensor) and features.dim() == 2 else 3
    _checks.check_tensor(op, "features", features, (None,) * dim, _FEATURE_DTYPES)
    batch = (features.shape[0],) if dim == 3 else ()
    _checks.check_tensor(op, "indices", indices, (*batch, None, None), (torch.int64,))
    _checks.check_tensor(op, "weights", weights, tuple(indices.shape), _FEATURE_DTYPES)
    _checks.check_same_device(op, features=features, indices=indices, weights=weights)
    exact = torch.float64 if features.dtype == torch.float64 else torch.float32
    return _three_interpolate(features, indices, weights.to(exact))


def _fake_backward(grad: Tensor, features: Tensor, indices: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    return features.new_empty(features.shape), weights.new_empty(weights.shape)


_three_interpolate_backward = define(
    "three_interpolate_backward(Tensor grad, Tensor features, Tensor indices, Tensor weights) -> (Tensor, Tensor)",
    reference=reference.three_interpolate_backward,
    fake=_fake_backward,
)


def _fake(features: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
    return features.new_empty((*indices.shape[:-1], features.shape[-1]))


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    features, indices, weights = ctx.saved_tensors
    grad_features, grad_weights = _three_interpolate_backward(grad, features, indices, weights)
    return grad_features, None, grad_weights


_three_interpolate = define(
    "three_interpolate(Tensor features, Tensor indices, Tensor weights) -> Tensor",
    reference=reference.three_interpolate,
    fake=_fake,
    setup_context=_setup_context,
    backward=_backward,
)
