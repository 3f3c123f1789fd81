"""k nearest neighbours."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mae3d.ops import _checks
from mae3d.ops._clouds import check_point_pair
from mae3d.ops._library import define
from mae3d.ops.reference import knn as reference

MAX_NEIGHBOURS = 128


class KNN(NamedTuple):
    """Neighbours of each query, nearest first.

    Attributes:
        squared_distances: Dense [B, Q, k], packed [R, k], float32, in the squared unit of the coordinates, ascending;
            +inf where there are fewer than k neighbours.
        indices: Same shape, int64. Dense: position in the query's own cloud. Packed: row of ``points``. -1 where there
            are fewer than k neighbours.
    """

    squared_distances: Tensor
    indices: Tensor


def knn(
    points: Tensor,
    queries: Tensor | None = None,
    k: int = 1,
    *,
    points_offsets: Tensor | None = None,
    queries_offsets: Tensor | None = None,
) -> KNN:
    """Find the ``k`` nearest points of each query, in its own cloud.

    Exact. Neighbours come by rising squared distance ``(dx*dx + dy*dy) + dz*dz`` (float32, no fused multiply-add),
    equal distances by rising index. A point that is a query finds itself. A pair whose squared distance is not finite
    (a NaN or infinite coordinate, an overflow beyond 1.8e19) is no pair, so a NaN point is nobody's neighbour and a
    NaN query has none.

    Args:
        points: Dense [B, N, 3] or packed [T, 3]; float32, or float16/bfloat16, which are searched in float32.
        queries: Dense [B, Q, 3] or packed [R, 3]; None asks for the neighbours of the points themselves.
        k: Number of neighbours, 1 to 128.
        points_offsets: [B + 1] int64, first row of each cloud; makes the call a packed one.
        queries_offsets: [B + 1] int64, first row of each cloud's queries.

    Returns:
        ``KNN``. The distances are differentiable in points and queries (the choice of neighbours is a constant); the
        backward pass is deterministic.

    Raises:
        OperatorInputError: A tensor has the wrong shape, dtype or device, offsets do not fit, or k is out of range.
    """
    _checks.check_range("knn", "k", k, 1, MAX_NEIGHBOURS)
    points, queries, queries_offsets = check_point_pair("knn", points, queries, points_offsets, queries_offsets)
    return KNN(*_knn(points, queries, points_offsets, queries_offsets, k))


def three_nn(
    queries: Tensor,
    points: Tensor,
    *,
    points_offsets: Tensor | None = None,
    queries_offsets: Tensor | None = None,
) -> KNN:
    """Find the three nearest ``points`` of each query: :func:`knn` with k = 3, in the argument order of PointNet++."""
    return knn(points, queries, 3, points_offsets=points_offsets, queries_offsets=queries_offsets)


def _fake_knn(
    points: Tensor, queries: Tensor, points_offsets: Tensor | None, queries_offsets: Tensor | None, k: int
) -> tuple[Tensor, Tensor]:
    shape = (*queries.shape[:-1], k)
    return queries.new_empty(shape), queries.new_empty(shape, dtype=torch.int64)


def _fake_backward(grad: Tensor, points: Tensor, queries: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    return points.new_empty(points.shape), queries.new_empty(queries.shape)


_knn_backward = define(
    "knn_backward(Tensor grad, Tensor points, Tensor queries, Tensor indices) -> (Tensor, Tensor)",
    reference=reference.knn_backward,
    fake=_fake_backward,
)


def pull_back(grad: Tensor, points: Tensor, queries: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of squared distances [..., k] in points and queries, summed in a fixed order."""
    return _knn_backward(grad, points, queries, indices)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    points, queries, *_ = inputs
    ctx.save_for_backward(points, queries, output[1])


def _backward(ctx: Any, grad: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return (*pull_back(grad, *ctx.saved_tensors), None, None, None)


_knn = define(
    "knn(Tensor points, Tensor queries, Tensor? points_offsets, Tensor? queries_offsets, int k) -> (Tensor, Tensor)",
    reference=reference.knn,
    fake=_fake_knn,
    setup_context=_setup_context,
    backward=_backward,
)
