"""Oriented 3D boxes and the conventions that other codebases use for them.

Ours: float ``[N, 7]`` or ``[N, 9]``: ``x, y, z, l, w, h, yaw(, vx, vy)``. Gravity centre in metres; length along the
heading, width across, height up; yaw in radians counter-clockwise from +x; velocity in metres a second; all in one
frame with z up (x ahead and y left for a vehicle).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SIGNS = ((1, 1), (1, -1), (-1, -1), (-1, 1))  # front left, front right, rear right, rear left


def wrap_angle(angle: Tensor) -> Tensor:
    """Angle in radians brought into [-pi, pi)."""
    return torch.remainder(angle + math.pi, 2 * math.pi) - math.pi


def box_corners_bev(boxes: Tensor) -> Tensor:
    """Corners seen from above, [N, 4, 2]: front left, front right, rear right, rear left."""
    signs = boxes.new_tensor(_SIGNS)
    local = boxes[:, None, 3:5] * signs / 2
    return rotate_bev(local, boxes[:, 6]) + boxes[:, None, :2]


def box_corners(boxes: Tensor) -> Tensor:
    """Corners [N, 8, 3]: the four of :func:`box_corners_bev` below, then above."""
    flat = box_corners_bev(boxes)
    half = boxes[:, 5, None, None] / 2
    low = torch.cat((flat, (boxes[:, 2, None, None] - half).expand(-1, 4, 1)), dim=-1)
    high = torch.cat((flat, (boxes[:, 2, None, None] + half).expand(-1, 4, 1)), dim=-1)
    return torch.cat((low, high), dim=1)


def rotate_bev(vectors: Tensor, yaw: Tensor) -> Tensor:
    """Turn vectors [N, ..., 2] counter-clockwise by ``yaw`` [N]."""
    shape = (len(yaw),) + (1,) * (vectors.dim() - 2)
    c, s = yaw.cos().reshape(shape), yaw.sin().reshape(shape)
    x, y = vectors.unbind(-1)
    return torch.stack((c * x - s * y, s * x + c * y), dim=-1)


def transform_boxes(boxes: Tensor, target_from_source: Tensor) -> Tensor:
    """Boxes [N, 7 or 9] in another frame that differs by a translation and a turn about z.

    Args:
        boxes: In the source frame.
        target_from_source: Homogeneous transform [4, 4]; its roll and pitch are applied to centres only, since a box
            stays upright.
    """
    matrix = target_from_source.to(boxes)
    yaw = torch.atan2(matrix[1, 0], matrix[0, 0])
    moved = boxes.clone()
    moved[:, :3] = boxes[:, :3] @ matrix[:3, :3].T + matrix[:3, 3]
    moved[:, 6] = wrap_angle(boxes[:, 6] + yaw)
    if boxes.shape[1] == 9:
        moved[:, 7:9] = rotate_bev(boxes[:, 7:9], yaw.expand(len(boxes)))
    return moved


def scale_boxes(boxes: Tensor, factor: Tensor | float) -> Tensor:
    """Boxes of a scene scaled about the origin: centres, sizes and velocities."""
    scaled = boxes.clone()
    scaled[:, :6] = boxes[:, :6] * factor
    scaled[:, 7:] = boxes[:, 7:] * factor
    return scaled


def flip_boxes(boxes: Tensor, axis: str) -> Tensor:
    """Boxes of a scene mirrored along "x" (x becomes -x) or "y"."""
    flipped = boxes.clone()
    column = {"x": 0, "y": 1}[axis]
    flipped[:, column] = -boxes[:, column]
    flipped[:, 6] = wrap_angle(math.pi - boxes[:, 6] if axis == "x" else -boxes[:, 6])
    if boxes.shape[1] == 9:
        flipped[:, 7 + column] = -boxes[:, 7 + column]
    return flipped
