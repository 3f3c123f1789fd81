"""Tokens of voxels whose weights depend on their place: each row picks a matrix, groups of rows are added up.

The sparse weight indexing of P3P (Chen et al., arXiv 2408.10007, section 3.3). Its plain form gathers one matrix for
every row and multiplies in a batch, which takes M C D numbers of memory; here the rows of one matrix meet it together,
so that time and memory grow with M alone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae3d.ops._checks import check_range, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import indexed_linear as reference

_FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_HALVES = (torch.float16, torch.bfloat16)


def indexed_linear(
    features: Tensor, weight: Tensor, index: Tensor, group: Tensor, num_groups: int, reduce: str = "sum"
) -> Tensor:
    """Add up ``features[v] @ weight[index[v]]`` over the rows v of each group.

    Half types accumulate in float32. A group adds its rows by ascending index, then ascending row: results have the
    same bits on every run, for every number of threads, and, where no index repeats within a group, for every order
    of the rows.

    Under autocast, the weight is cast to the autocast dtype; float32 features keep their precision.

    Args:
        features: [M, C]; the dtype of ``weight``, or float32 with float16 and bfloat16 weights.
        weight: [K, C, D] float32, float64, float16 or bfloat16.
        index: int64 [M]: the matrix of each row, in [0, K) (checked on the CPU; other rows are ignored on CUDA).
        group: int64 [M]: the output row that each row joins; negative: the row is ignored.
        num_groups: T; every group must be below it (checked on the CPU; ignored rows on CUDA).
        reduce: "sum" or "mean" over the rows of a group.

    Returns:
        [T, D] in the dtype of ``weight``; rows that nothing joins are 0. Differentiable, twice, in features and
        weight.

    Raises:
        OperatorInputError: wrong shape, dtype, device or ``reduce``.
    """
    op = "indexed_linear"
    require(reduce in ("sum", "mean"), f"{op}: 'reduce' must be 'sum' or 'mean', got {reduce!r}")
    check_tensor(op, "features", features, (None, None), _FLOATS)
    check_tensor(op, "weight", weight, (None, features.shape[1], None), _FLOATS)
    check_tensor(op, "index", index, (features.shape[0],), (torch.int64,))
    check_tensor(op, "group", group, (features.shape[0],), (torch.int64,))
    check_same_device(op, features=features, weight=weight, index=index, group=group)
    if not isinstance(num_groups, torch.SymInt):
        check_range(op, "num_groups", num_groups, 0)
    device = features.device.type
    if torch.is_autocast_enabled(device) and weight.dtype == torch.float32:
        weight = weight.to(torch.get_autocast_dtype(device))
    if features.dtype in _HALVES and weight.dtype != features.dtype and torch.is_autocast_enabled(device):
        features = features.float()
    widens = features.dtype == torch.float32 and weight.dtype in _HALVES
    require(
        features.dtype == weight.dtype or widens,
        f"{op}: 'features' must have the dtype of 'weight' or widen it to float32, got {features.dtype} and "
        f"{weight.dtype}",
    )
    return _indexed_linear(features, weight, index, group, num_groups, reduce == "mean")[0]


def indexed_project(hidden: Tensor, weight: Tensor, index: Tensor, group: Tensor) -> Tensor:
    """``weight[index[v]] @ hidden[group[v]]`` for every row v: the adjoint of :func:`indexed_linear`.

    A linear layer from D to K C channels of which each row needs one block of C: what a decoder predicts for the
    occupied cells of its patches, without the predictions for empty ones.

    Half types accumulate in float32. Under autocast, hidden and weight are cast to the autocast dtype.

    Args:
        hidden: [T, D] float32, float64, float16 or bfloat16.
        weight: [K, C, D], same dtype.
        index: int64 [M]: the matrix of each row, in [0, K) (checked on the CPU; other rows give 0 on CUDA).
        group: int64 [M]: the row of ``hidden`` that each row reads, below T; negative: 0.

    Returns:
        [M, C] in the dtype of ``hidden``. Differentiable, twice, in hidden and weight.

    Raises:
        OperatorInputError: wrong shape, dtype or device.
    """
    op = "indexed_project"
    check_tensor(op, "hidden", hidden, (None, None), _FLOATS)
    device = hidden.device.type
    if torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(device)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    check_tensor(op, "weight", weight, (None, None, hidden.shape[1]), (hidden.dtype,))
    check_tensor(op, "index", index, (None,), (torch.int64,))
    check_tensor(op, "group", group, (index.shape[0],), (torch.int64,))
    check_same_device(op, hidden=hidden, weight=weight, index=index, group=group)
    return _feature_grad(hidden, weight, index, group, index.new_zeros(hidden.shape[0]), False)


def _fake(features, weight, index, group, num_groups, mean):
    return weight.new_empty(num_groups, weight.shape[2]), index.new_empty(num_groups)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    features, weight, index, group, ctx.num_groups, ctx.mean = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(features, weight, index, group, output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    features, weight, index, group, counts = ctx.saved_tensors
    of_features = of_weight = None
    if ctx.needs_input_grad[0]:
        of_features = _feature_grad(grad, weight, index, group, counts, ctx.mean).to(features.dtype)
    if ctx.needs_input_grad[1]:
        of_weight = _weight_grad(grad, features, index, group, counts, weight.shape[0], ctx.mean)
    return of_features, of_weight, None, None, None, None


# The product is linear in features, weight and grad, so each gradient has the other two forms as its own gradients.
def _save_feature_grad(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, weight, index, group, counts, ctx.mean = inputs
    ctx.save_for_backward(grad, weight, index, group, counts)


def _feature_grad_backward(ctx: Any, grad_features: Tensor) -> tuple[Tensor | None, ...]:
    grad, weight, index, group, counts = ctx.saved_tensors
    of_grad = of_weight = None
    if ctx.needs_input_grad[0]:
        of_grad = _indexed_linear(grad_features, weight, index, group, grad.shape[0], ctx.mean)[0]
    if ctx.needs_input_grad[1]:
        of_weight = _weight_grad(grad, grad_features, index, group, counts, weight.shape[0], ctx.mean)
    return of_grad, of_weight, None, None, None, None


def _save_weight_grad(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad, features, index, group, counts, _, ctx.mean = inputs
    ctx.save_for_backward(grad, features, index, group, counts)


def _weight_grad_backward(ctx: Any, grad_weight: Tensor) -> tuple[Tensor | None, ...]:
    grad, features, index, group, counts = ctx.saved_tensors
    of_grad = of_features = None
    if ctx.needs_input_grad[0]:
        of_grad = _indexed_linear(features, grad_weight, index, group, grad.shape[0], ctx.mean)[0]
    if ctx.needs_input_grad[1]:
        of_features = _feature_grad(grad, grad_weight, index, group, counts, ctx.mean).to(features.dtype)
    return of_grad, of_features, None, None, None, None, None


_feature_grad = define(
    "indexed_linear_feature_grad(Tensor grad, Tensor weight, Tensor index, Tensor group, Tensor counts, bool mean)"
    " -> Tensor",
    reference=reference.indexed_linear_feature_grad,
    fake=lambda grad, weight, index, group, counts, mean: grad.new_empty(index.shape[0], weight.shape[1]),
    setup_context=_save_feature_grad,
    backward=_feature_grad_backward,
)

_weight_grad = define(
    "indexed_linear_weight_grad(Tensor grad, Tensor features, Tensor index, Tensor group, Tensor counts,"
    " SymInt num_weights, bool mean) -> Tensor",
    reference=reference.indexed_linear_weight_grad,
    fake=lambda grad, features, index, group, counts, num_weights, mean: grad.new_empty(
        num_weights, features.shape[1], grad.shape[1]
    ),
    setup_context=_save_weight_grad,
    backward=_weight_grad_backward,
)

_indexed_linear = define(
    "indexed_linear(Tensor features, Tensor weight, Tensor index, Tensor group, SymInt num_groups, bool mean)"
    " -> (Tensor, Tensor)",
    reference=reference.indexed_linear,
    fake=_fake,
    setup_context=_save,
    backward=_backward,
)
