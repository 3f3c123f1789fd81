"""Overlap of rotated boxes in plain torch, differentiable by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

AREA, IOU_BEV, IOU_3D, GIOU_3D = range(4)
_PAIRS = 1 << 16  # held at a time


def valid_boxes(boxes: Tensor) -> Tensor:
    """Boxes [..., 7] whose values are finite and not beyond 1e18 and whose sizes are above 0."""
    return boxes.abs().le(1e18).all(-1) & boxes[..., 3:6].gt(0).all(-1)


def corners_bev(boxes: Tensor) -> Tensor:
    """Corners [..., 4, 2] seen from above, counter-clockwise."""
    signs = boxes.new_tensor([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    local = signs * boxes[..., None, 3:5]
    cos, sin = boxes[..., None, 6].cos(), boxes[..., None, 6].sin()
    x, y = local.unbind(-1)
    return torch.stack((x * cos - y * sin, x * sin + y * cos), dim=-1) + boxes[..., None, :2]


def _signed_area(polygon: Tensor) -> Tensor:
    """Area of closed polygons [..., P, 2]."""
    following = polygon.roll(-1, dims=-2)
    return 0.5 * (polygon[..., 0] * following[..., 1] - polygon[..., 1] * following[..., 0]).sum(-1)


def _squash(polygon: Tensor, axis: int, sign: float, limit: Tensor) -> Tensor:
    """Push all of a polygon that lies beyond a line onto it: the rest keeps its area, the pushed part has none."""
    p, q = polygon, polygon.roll(-1, dims=-2)
    limit = limit[..., None]
    inside_p, inside_q = limit - sign * p[..., axis], limit - sign * q[..., axis]
    crosses = (inside_p >= 0) != (inside_q >= 0)
    t = torch.where(crosses, inside_p / torch.where(crosses, inside_p - inside_q, 1), 0)
    crossing = p + t[..., None] * (q - p)
    both = torch.stack((p, crossing), dim=-2).flatten(-3, -2)  # [..., 2P, 2]
    pushed = sign * torch.minimum(sign * both[..., axis], limit)
    return torch.stack((pushed, both[..., 1]) if axis == 0 else (both[..., 0], pushed), dim=-1)


def _intersection(a: Tensor, b: Tensor) -> Tensor:
    """Common area [P] of paired boxes [P, 7] seen from above."""
    cos, sin = b[:, None, 6].cos(), b[:, None, 6].sin()
    x, y = (corners_bev(torch.cat((a[:, :2] - b[:, :2], a[:, 2:]), dim=1))).unbind(-1)
    polygon = torch.stack((x * cos + y * sin, y * cos - x * sin), dim=-1)  # in the frame of b
    for axis in (0, 1):
        for sign in (1.0, -1.0):
            polygon = _squash(polygon, axis, sign, 0.5 * b[:, 3 + axis])
    return _signed_area(polygon).clamp(min=0)


def _hull(a: Tensor, b: Tensor) -> Tensor:
    """Area [P] of the convex hull of paired boxes seen from above: the hull is wrapped point by point."""
    centre = b[:, None, :2].detach()
    points = torch.cat((corners_bev(a) - centre, corners_bev(b) - centre), dim=1)  # [P, 8, 2]
    rows = torch.arange(len(a), device=a.device)
    start = points[..., 1].argmin(1)
    current, heading = start, torch.zeros_like(a[:, 0])
    twice, walking = torch.zeros_like(a[:, 0]), torch.ones_like(start, dtype=torch.bool)
    for _ in range(8):
        step = (points - points[rows, current][:, None]).detach()
        angle = torch.atan2(step[..., 1], step[..., 0])
        turned = (angle - heading[:, None] + 1e-9).remainder(2 * torch.pi)
        turned = turned.masked_fill(step.square().sum(-1) == 0, torch.inf)
        following = turned.argmin(1)
        p, q = points[rows, current], points[rows, following]
        twice = twice + torch.where(walking, p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0], 0)
        heading = angle[rows, following]
        walking = walking & ((points[rows, following] - points[rows, start]).square().sum(-1) > 0)
        current = following
    return 0.5 * twice


def _pairs(a: Tensor, b: Tensor, kind: int) -> Tensor:
    """Values [P] of paired boxes [P, 7]."""
    valid = valid_boxes(a) & valid_boxes(b)
    unit = a.new_tensor([0.0, 0, 0, 1, 1, 1, 0])
    a, b = torch.where(valid[:, None], a, unit), torch.where(valid[:, None], b, unit)
    inter, size_a, size_b = _intersection(a, b), a[:, 3] * a[:, 4], b[:, 3] * b[:, 4]
    if kind in (IOU_3D, GIOU_3D):
        tops = a[:, 2] + a[:, 5] / 2, b[:, 2] + b[:, 5] / 2
        bottoms = a[:, 2] - a[:, 5] / 2, b[:, 2] - b[:, 5] / 2
        inter = inter * (torch.minimum(*tops) - torch.maximum(*bottoms)).clamp(min=0)
        size_a, size_b = size_a * a[:, 5], size_b * b[:, 5]
    union = size_a + size_b - inter
    if kind == AREA:
        return torch.where(valid, inter, 0)
    value = inter / union
    if kind == GIOU_3D:
        value = value + union / (_hull(a, b) * (torch.maximum(*tops) - torch.minimum(*bottoms))) - 1
    return torch.where(valid, value, -1 if kind == GIOU_3D else 0)


def box_iou(a: Tensor, b: Tensor, kind: int) -> Tensor:
    """Reference of ``mae3d::box_iou`` (csrc/boxes/box_iou.h)."""
    batch, n, m = a.shape[0], a.shape[1], b.shape[1]
    left = a[:, :, None].expand(-1, -1, m, -1).reshape(-1, 7).split(_PAIRS)
    right = b[:, None].expand(-1, n, -1, -1).reshape(-1, 7).split(_PAIRS)
    return torch.cat([_pairs(x, y, kind) for x, y in zip(left, right)]).view(batch, n, m)


def box_iou_backward(grad: Tensor, a: Tensor, b: Tensor, kind: int) -> tuple[Tensor, Tensor]:
    """Reference of ``mae3d::box_iou_backward``."""
    with torch.enable_grad():
        a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
        return torch.autograd.grad(box_iou(a, b, kind), (a, b), grad)
