"""Checks shared by operators that relate one batch of point clouds to another, dense or packed."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import _checks

COORDINATE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def check_point_pair(
    op: str,
    points: Tensor,
    queries: Tensor | None,
    points_offsets: Tensor | None,
    queries_offsets: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Validate points and queries of a search; returns (points, queries, queries_offsets) in float32.

    Dense: [B, N, 3] and [B, Q, 3] without offsets. Packed: [T, 3] and [R, 3], each with offsets [B + 1]. Without
    ``queries`` the points are their own queries.
    """
    packed = points_offsets is not None
    shape = (None, 3) if packed else (None, None, 3)
    _checks.check_tensor(op, "points", points, shape, COORDINATE_DTYPES)
    if queries is None:
        if queries_offsets is not None:
            raise OperatorInputError(f"{op}: 'queries_offsets' was given without 'queries'")
        queries, queries_offsets = points, points_offsets
    if packed != (queries_offsets is not None):
        missing = "queries_offsets" if packed else "points_offsets"
        raise OperatorInputError(f"{op}: '{missing}' is missing: give both offsets (packed clouds) or none (dense)")
    _checks.check_tensor(op, "queries", queries, shape, COORDINATE_DTYPES)
    _checks.check_same_device(
        op, points=points, queries=queries, points_offsets=points_offsets, queries_offsets=queries_offsets
    )
    if not packed:
        _checks.require(
            points.shape[0] == queries.shape[0],
            f"{op}: 'points' and 'queries' must hold as many clouds, got {points.shape[0]} and {queries.shape[0]}",
        )
        return points.float(), queries.float(), None
    _checks.check_offsets(op, "points_offsets", points_offsets, points.shape[0])
    _checks.check_offsets(op, "queries_offsets", queries_offsets, queries.shape[0])
    _checks.require(
        points_offsets.shape == queries_offsets.shape,
        f"{op}: 'points_offsets' and 'queries_offsets' must describe as many clouds, "
        f"got {points_offsets.shape[0] - 1} and {queries_offsets.shape[0] - 1}",
    )
    return points.float(), queries.float(), queries_offsets
