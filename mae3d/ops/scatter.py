"""Reduction of feature rows into groups: voxel means, pillar maxima, window sums."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.ops._checks import check_range, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import scatter as reference

REDUCTIONS = ("sum", "mean", "max", "min")


def scatter_reduce(features: Tensor, index: Tensor, num_rows: int, reduce: str = "sum") -> Tensor:
    """Reduce the rows of ``features`` that share an index, e.g. the points of each voxel.

    Half types accumulate in float32. Rows are added in ascending order, so results have the same bits on every run
    and for every number of threads. The gradient of max and min goes to the first row that holds the extreme value.

    Args:
        features: [..., C], floating point.
        index: int64 [...]: the output row that each feature row joins; negative (as ``Voxelization.point_to_voxel``
            of dropped points): the row is ignored.
        num_rows: V; every index must be below it (checked on the CPU; ignored rows on CUDA).
        reduce: "sum", "mean", "max" or "min". A NaN wins max and min.

    Returns:
        [V, C] in the dtype of ``features``; rows that nothing joins are 0.

    Raises:
        OperatorInputError: wrong shape, dtype, device or ``reduce``.
    """
    op = "scatter_reduce"
    require(reduce in REDUCTIONS, f"{op}: 'reduce' must be one of {', '.join(REDUCTIONS)}, got {reduce!r}")
    require(isinstance(features, Tensor) and features.dim() >= 1, f"{op}: 'features' must be a Tensor [..., C]")
    require(features.is_floating_point(), f"{op}: 'features' must be floating point, got {features.dtype}")
    check_tensor(op, "index", index, tuple(features.shape[:-1]), (torch.int64,))
    check_same_device(op, features=features, index=index)
    if not isinstance(num_rows, torch.SymInt):
        check_range(op, "num_rows", num_rows, 0)
    rows = features.reshape(-1, features.shape[-1]) if features.dim() != 2 else features
    with_arg = reduce in ("max", "min") and features.requires_grad and torch.is_grad_enabled()
    return _scatter_reduce(rows, index.reshape(-1), num_rows, reduce, with_arg)[0]


def _fake(features, index, num_rows, reduce, with_arg):
    arg_rows = num_rows if with_arg and reduce in ("max", "min") else 0
    return (
        features.new_empty(num_rows, features.shape[1]),
        index.new_empty(num_rows),
        index.new_empty(arg_rows, features.shape[1], dtype=torch.int32),
    )


def _setup_context(ctx, inputs, output) -> None:
    _, index, _, ctx.reduce, _ = inputs
    _, counts, arg = output
    ctx.mark_non_differentiable(counts, arg)
    ctx.save_for_backward(index, counts, arg)


def _backward(ctx, grad, *_):
    index, counts, arg = ctx.saved_tensors
    return _scatter_reduce_backward(grad, index, counts, arg, ctx.reduce), None, None, None, None


_scatter_reduce_backward = define(
    "scatter_reduce_backward(Tensor grad, Tensor index, Tensor counts, Tensor arg, str reduce) -> Tensor",
    reference=reference.scatter_reduce_backward,
    fake=lambda grad, index, counts, arg, reduce: grad.new_empty(index.shape[0], grad.shape[1]),
)

_scatter_reduce = define(
    "scatter_reduce(Tensor features, Tensor index, SymInt num_rows, str reduce, bool with_arg)"
    " -> (Tensor, Tensor, Tensor)",
    reference=reference.scatter_reduce,
    fake=_fake,
    setup_context=_setup_context,
    backward=_backward,
)
