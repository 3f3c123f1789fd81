"""Overlap of rotated 3D boxes: intersection and IoU seen from above, IoU and generalised IoU of volumes.

Boxes are [x, y, z, l, w, h, yaw]: gravity centre and sizes in metres, yaw in radians counter-clockwise from +x. A box
with a value that is not finite or beyond 1e18, or with a size not above 0, overlaps nothing. Each pair is computed in
float64. All measures are differentiable in both boxes; where the derivative jumps (edges that coincide, equal tops or
bottoms) it is that of one side. Gradients are deterministic.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae3d.ops._checks import check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import box_iou as reference


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], inputs[1])
    ctx.kind = inputs[2]


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_box_iou_backward(grad, *ctx.saved_tensors, ctx.kind), None)


_box_iou_backward = define(
    "box_iou_backward(Tensor grad, Tensor a, Tensor b, int kind) -> (Tensor, Tensor)",
    reference=reference.box_iou_backward,
    fake=lambda grad, a, b, kind: (a.new_empty(a.shape), b.new_empty(b.shape)),
)
_box_iou = define(
    "box_iou(Tensor a, Tensor b, int kind) -> Tensor",
    reference=reference.box_iou,
    fake=lambda a, b, kind: a.new_empty((a.shape[0], a.shape[1], b.shape[1])),
    setup_context=_setup_context,
    backward=_backward,
)


def _measure(op: str, a: Tensor, b: Tensor, paired: bool, kind: int) -> Tensor:
    floating = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    for name, boxes in (("a", a), ("b", b)):
        require(
            isinstance(boxes, Tensor) and boxes.dim() in (2, 3),
            f"{op}: '{name}' must be a Tensor of shape [N, 7] or [B, N, 7], got "
            f"{list(boxes.shape) if isinstance(boxes, Tensor) else type(boxes).__name__}",
        )
        check_tensor(op, name, boxes, (*[None] * (boxes.dim() - 1), 7), floating)
    require(a.dim() == b.dim(), f"{op}: 'a' and 'b' must have as many axes, got {list(a.shape)} and {list(b.shape)}")
    check_same_device(op, a=a, b=b)
    if paired:
        check_tensor(op, "b", b, tuple(a.shape))
    elif a.dim() == 3:
        check_tensor(op, "b", b, (a.shape[0], None, 7))
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    a, b = a.to(dtype), b.to(dtype)
    if paired:
        return _box_iou(a.reshape(-1, 1, 7), b.reshape(-1, 1, 7), kind).reshape(a.shape[:-1])
    if a.dim() == 2:
        return _box_iou(a[None], b[None], kind)[0]
    return _box_iou(a, b, kind)


def box_intersection_bev(a: Tensor, b: Tensor, *, paired: bool = False) -> Tensor:
    """Common area seen from above, square metres. Heights are not looked at.

    Args:
        a: [N, 7] or [B, N, 7] float; half types are computed in float32.
        b: [M, 7] or [B, M, 7].
        paired: Box i of ``a`` with box i of ``b`` alone: ``b`` has the shape of ``a``, the result is [N] or [B, N].

    Returns:
        [N, M] or [B, N, M], the floating type of the inputs.

    Raises:
        OperatorInputError: a shape, dtype or device is wrong.
    """
    return _measure("box_intersection_bev", a, b, paired, reference.AREA)


def box_iou_bev(a: Tensor, b: Tensor, *, paired: bool = False) -> Tensor:
    """Ratio of common to united area seen from above; arguments as :func:`box_intersection_bev`."""
    return _measure("box_iou_bev", a, b, paired, reference.IOU_BEV)


def box_iou_3d(a: Tensor, b: Tensor, *, paired: bool = False) -> Tensor:
    """Ratio of common to united volume; arguments as :func:`box_intersection_bev`."""
    return _measure("box_iou_3d", a, b, paired, reference.IOU_3D)


def box_giou_3d(a: Tensor, b: Tensor, *, paired: bool = False) -> Tensor:
    """Generalised IoU of volumes, in (-1, 1]; arguments as :func:`box_intersection_bev`.

    IoU - (C - U) / C with U the united volume and C the area of the convex hull of both boxes seen from above times
    their common extent in height: the smallest upright prism around both (Rezatofighi et al., "Generalized
    Intersection over Union", CVPR 2019, leave the enclosing shape open). A pair with a box that overlaps nothing for
    the reasons above has -1 and zero gradient.
    """
    return _measure("box_giou_3d", a, b, paired, reference.GIOU_3D)
