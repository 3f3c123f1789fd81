"""Which rotated box holds each point."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.ops._checks import check_offsets, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import points_in_boxes as reference

_OP = "points_in_boxes"


class PointsInBoxes(NamedTuple):
    """Result of :func:`points_in_boxes`."""

    index: Tensor
    """[B, N] int64: the first box of the sample that holds the point (packed: row of ``boxes``), -1 where none."""
    counts: Tensor
    """[B, M] int64: points in each box, also those that an earlier box holds."""


def _fake(
    points: Tensor, boxes: Tensor, points_offsets: Tensor | None, boxes_offsets: Tensor | None
) -> tuple[Tensor, Tensor]:
    return (
        points.new_empty(points.shape[:-1], dtype=torch.int64),
        boxes.new_empty(boxes.shape[:-1], dtype=torch.int64),
    )


_points_in_boxes = define(
    "points_in_boxes(Tensor points, Tensor boxes, Tensor? points_offsets, Tensor? boxes_offsets) -> (Tensor, Tensor)",
    reference=reference.points_in_boxes,
    fake=_fake,
)


def points_in_boxes(
    points: Tensor,
    boxes: Tensor,
    *,
    points_offsets: Tensor | None = None,
    boxes_offsets: Tensor | None = None,
) -> PointsInBoxes:
    """Find the box of every point; faces belong to the box. Not differentiable.

    Args:
        points: [B, N, 3] float, metres, or packed [Tp, 3] with ``points_offsets``.
        boxes: [B, M, 7] or packed [Tb, 7]: x, y, z, l, w, h, yaw (gravity centre, radians counter-clockwise from +x).
        points_offsets: int64 [B + 1] of a packed batch. Needs ``boxes_offsets``.
        boxes_offsets: int64 [B + 1], likewise.

    Returns:
        Box index of every point and number of points in every box. A point that is not finite is in no box; a box
        with a value that is not finite or beyond 1e18, or a size not above 0, holds nothing. Computed in float64.

    Raises:
        OperatorInputError: a shape, dtype, device or offset is wrong.
    """
    floating = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    packed = points_offsets is not None
    require(packed == (boxes_offsets is not None), f"{_OP}: give both 'points_offsets' and 'boxes_offsets' or neither")
    check_tensor(_OP, "points", points, (None, 3) if packed else (None, None, 3), floating)
    check_tensor(_OP, "boxes", boxes, (None, 7) if packed else (points.shape[0], None, 7), floating)
    if points_offsets is not None and boxes_offsets is not None:
        check_offsets(_OP, "points_offsets", points_offsets, len(points))
        check_offsets(_OP, "boxes_offsets", boxes_offsets, len(boxes))
        samples = len(points_offsets) - 1, len(boxes_offsets) - 1
        require(samples[0] == samples[1], f"{_OP}: the offsets must hold as many samples, got {samples}")
    check_same_device(_OP, points=points, boxes=boxes, points_offsets=points_offsets, boxes_offsets=boxes_offsets)
    dtype = torch.promote_types(torch.promote_types(points.dtype, boxes.dtype), torch.float32)
    found = _points_in_boxes(points.detach().to(dtype), boxes.detach().to(dtype), points_offsets, boxes_offsets)
    return PointsInBoxes(*found)
