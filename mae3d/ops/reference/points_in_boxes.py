"""Points in boxes in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.ops.reference.box_iou import valid_boxes


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Which points [N, 3] the boxes [M, 7] hold: bool [N, M]."""
    p, b = points.double(), boxes.double()
    dx, dy, dz = (p[:, None] - b[None, :, :3]).unbind(-1)
    cos, sin = b[:, 6].cos(), b[:, 6].sin()
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    half = b[:, 3:6] / 2
    return (along.abs() <= half[:, 0]) & (across.abs() <= half[:, 1]) & (dz.abs() <= half[:, 2]) & valid_boxes(b)


def points_in_boxes(
    points: Tensor, boxes: Tensor, points_offsets: Tensor | None = None, boxes_offsets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Reference of ``mae3d::points_in_boxes`` (csrc/boxes/points_in_boxes.h)."""
    if points_offsets is None or boxes_offsets is None:
        samples = [(p, b, 0) for p, b in zip(points, boxes)]
    else:
        p, b = points_offsets.tolist(), boxes_offsets.tolist()
        samples = [(points[p[i] : p[i + 1]], boxes[b[i] : b[i + 1]], b[i]) for i in range(len(p) - 1)]
    index, counts = [], []
    for some_points, some_boxes, base in samples:
        inside = _inside(some_points, some_boxes)
        padded = torch.nn.functional.pad(inside, (0, 1), value=True)  # the last column: no box
        first = padded.int().argmax(1)
        index.append(torch.where(first < len(some_boxes), first + base, -1))
        counts.append(inside.sum(0))
    shape_points, shape_boxes = points.shape[:-1], boxes.shape[:-1]
    empty = points.new_zeros(0, dtype=torch.int64)
    return torch.cat([empty, *index]).view(shape_points), torch.cat([empty, *counts]).view(shape_boxes)
