"""Neighbours within a radius."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import _checks
from mae3d.ops._clouds import check_point_pair
from mae3d.ops._library import define
from mae3d.ops.knn import MAX_NEIGHBOURS, pull_back
from mae3d.ops.reference import ball_query as reference


class BallQuery(NamedTuple):
    """At most k neighbours of each query.

    Attributes:
        indices: Dense [B, Q, k], packed [R, k], int64. Dense: position in the query's own cloud. Packed: row of
            ``points``. Empty places hold -1, or the first neighbour again with ``fill="repeat_first"``.
        counts: Dense [B, Q], packed [R], int64: how many places hold a neighbour of their own, at most k.
        squared_distances: Shape of ``indices``, float32; +inf in empty places.
    """

    indices: Tensor
    counts: Tensor
    squared_distances: Tensor


def ball_query(
    points: Tensor,
    queries: Tensor | None,
    radius: float,
    k: int,
    *,
    mode: Literal["first", "nearest"] = "first",
    fill: Literal["pad", "repeat_first"] = "pad",
    points_offsets: Tensor | None = None,
    queries_offsets: Tensor | None = None,
) -> BallQuery:
    """Find at most ``k`` points strictly nearer than ``radius`` to each query, in its own cloud.

    A point is inside when its squared distance (as in :func:`mae3d.ops.knn`) is less than the float32 square of the
    float32 radius, so a point at the radius is outside: the rule of PointNet++ and PyTorch3D.

    Args:
        points: Dense [B, N, 3] or packed [T, 3]; float32, or float16/bfloat16, which are searched in float32.
        queries: Dense [B, Q, 3] or packed [R, 3]; None asks for the neighbours of the points themselves.
        radius: In the unit of the coordinates, positive; may be infinite.
        k: Largest number of neighbours, 1 to 128.
        mode: "first" keeps the k inside points of lowest index, in index order (PointNet++, PyTorch3D); "nearest" the
            k nearest, nearest first, ties by index.
        fill: "pad" leaves -1 in empty places; "repeat_first" repeats the first neighbour there (PointNet++), while a
            query without any neighbour keeps -1.
        points_offsets: [B + 1] int64, first row of each cloud; makes the call a packed one.
        queries_offsets: [B + 1] int64, first row of each cloud's queries.

    Returns:
        ``BallQuery``; the distances are differentiable in points and queries, with a deterministic backward pass.

    Raises:
        OperatorInputError: A tensor has the wrong shape, dtype or device, offsets do not fit, or an option is unknown
            or out of range.
    """
    _checks.check_range("ball_query", "k", k, 1, MAX_NEIGHBOURS)
    if not (math.isfinite(radius) or radius == math.inf) or radius <= 0:
        raise OperatorInputError(f"ball_query: 'radius' must be positive, got {radius}")
    if mode not in ("first", "nearest"):
        raise OperatorInputError(f"ball_query: 'mode' must be 'first' or 'nearest', got {mode!r}")
    if fill not in ("pad", "repeat_first"):
        raise OperatorInputError(f"ball_query: 'fill' must be 'pad' or 'repeat_first', got {fill!r}")
    points, queries, queries_offsets = check_point_pair("ball_query", points, queries, points_offsets, queries_offsets)
    distances, indices, counts = _ball_query(
        points, queries, points_offsets, queries_offsets, radius, k, mode == "nearest", fill == "repeat_first"
    )
    return BallQuery(indices, counts, distances)


def _fake(
    points: Tensor,
    queries: Tensor,
    points_offsets: Tensor | None,
    queries_offsets: Tensor | None,
    radius: float,
    k: int,
    nearest: bool,
    repeat_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    shape = queries.shape[:-1]
    indices = queries.new_empty((*shape, k), dtype=torch.int64)
    return queries.new_empty((*shape, k)), indices, queries.new_empty(shape, dtype=torch.int64)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    points, queries, *_ = inputs
    ctx.save_for_backward(points, queries, output[1])


def _backward(ctx: Any, grad: Tensor, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    return (*pull_back(grad, *ctx.saved_tensors), *[None] * 6)


_ball_query = define(
    "ball_query(Tensor points, Tensor queries, Tensor? points_offsets, Tensor? queries_offsets, float radius, int k,"
    " bool nearest, bool repeat_first) -> (Tensor, Tensor, Tensor)",
    reference=reference.ball_query,
    fake=_fake,
    setup_context=_setup_context,
    backward=_backward,
)
