"""Non-maximum suppression of rotated boxes: by overlap seen from above, by centre distance, within classes.

Results have a fixed size, so that nothing waits for a device and traces stay static: ``keep`` is padded with -1 and
``count`` says how many are real. ``keep[:count]`` is the usual index tensor, at the price of one wait on a GPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.ops._checks import check_range, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import nms as reference

_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class NMS(NamedTuple):
    """Boxes that survive suppression."""

    keep: Tensor
    """[K] or [B, K] int64: indices of kept boxes, best score first, then -1. K is ``max_output`` or N, the smaller."""
    count: Tensor
    """[] or [B] int64: number of kept boxes."""


def _fake(
    boxes: Tensor, labels: Tensor | None, valid: Tensor, threshold: float, circle: bool, max_output: int
) -> tuple[Tensor, Tensor]:
    size = torch.sym_min(max_output, boxes.shape[1])
    return boxes.new_empty((boxes.shape[0], size), dtype=torch.int64), boxes.new_empty(
        boxes.shape[0], dtype=torch.int64
    )


_nms_sorted = define(
    "nms_sorted(Tensor boxes, Tensor? labels, Tensor valid, float threshold, bool circle, SymInt max_output) "
    "-> (Tensor, Tensor)",
    reference=reference.nms_sorted,
    fake=_fake,
)


def _check(op: str, boxes: Tensor, scores: Tensor, labels: Tensor | None, max_output: int | None) -> None:
    require(
        isinstance(boxes, Tensor) and boxes.dim() in (2, 3),
        f"{op}: 'boxes' must be a Tensor of shape [N, 7] or [B, N, 7], got "
        f"{list(boxes.shape) if isinstance(boxes, Tensor) else type(boxes).__name__}",
    )
    check_tensor(op, "boxes", boxes, (*[None] * (boxes.dim() - 1), 7), _FLOATING)
    check_tensor(op, "scores", scores, tuple(boxes.shape[:-1]), _FLOATING)
    if labels is not None:
        check_tensor(op, "labels", labels, tuple(boxes.shape[:-1]), (torch.int64,))
    if max_output is not None:
        check_range(op, "max_output", max_output, 0)
    check_same_device(op, boxes=boxes, scores=scores, labels=labels)
    if boxes.device.type == "cuda":
        require(boxes.shape[-2] <= 65536, f"{op}: at most 65536 boxes on CUDA, got {boxes.shape[-2]}; keep the best")


def _suppress(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    threshold: float,
    circle: bool,
    score_threshold: float | None,
    max_output: int | None,
) -> NMS:
    single = boxes.dim() == 2
    if single:
        boxes, scores = boxes[None], scores[None]
        labels = None if labels is None else labels[None]
    boxes, scores = boxes.detach(), scores.detach()
    valid = ~scores.isnan() if score_threshold is None else scores > score_threshold
    order = scores.masked_fill(~valid, -torch.inf).argsort(dim=1, descending=True, stable=True)
    wide = torch.promote_types(boxes.dtype, torch.float32)
    keep, count = _nms_sorted(
        boxes.to(wide).gather(1, order[..., None].expand(-1, -1, 7)),
        None if labels is None else labels.gather(1, order),
        valid.gather(1, order),
        float(threshold),
        circle,
        boxes.shape[1] if max_output is None else max_output,
    )
    if boxes.shape[1] > 0:
        keep = torch.where(keep >= 0, order.gather(1, keep.clamp(min=0)), -1)
    return NMS(keep[0], count[0]) if single else NMS(keep, count)


def nms_rotated(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    *,
    score_threshold: float | None = None,
    max_output: int | None = None,
) -> NMS:
    """Keep boxes in order of score and drop those whose IoU seen from above with a kept one is above a threshold.

    Args:
        boxes: [N, 7] or [B, N, 7] float: x, y, z, l, w, h, yaw (gravity centre, metres, radians counter-clockwise
            from +x). Heights are not looked at. On CUDA N is at most 65536.
        scores: [N] or [B, N] float. Of equal scores the lower index comes first; a NaN score is never kept.
        iou_threshold: In [0, 1].
        score_threshold: Only boxes with a score above it take part.
        max_output: Stop after so many; also the size of the result.

    Returns:
        Kept indices padded with -1, and their number. A box with a value that is not finite or beyond 1e18, or a size
        not above 0, overlaps nothing: it is kept and suppresses nothing. Not differentiable.

    Raises:
        OperatorInputError: a shape, dtype, device or threshold is wrong.
    """
    _check("nms_rotated", boxes, scores, None, max_output)
    check_range("nms_rotated", "iou_threshold", iou_threshold, 0, 1)
    return _suppress(boxes, scores, None, iou_threshold, False, score_threshold, max_output)


def nms_class_aware(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    iou_threshold: float,
    *,
    score_threshold: float | None = None,
    max_output: int | None = None,
) -> NMS:
    """:func:`nms_rotated` in which only boxes of equal ``labels`` ([N] or [B, N] int64) suppress each other."""
    _check("nms_class_aware", boxes, scores, labels, max_output)
    check_range("nms_class_aware", "iou_threshold", iou_threshold, 0, 1)
    return _suppress(boxes, scores, labels, iou_threshold, False, score_threshold, max_output)


def nms_circle(
    boxes: Tensor,
    scores: Tensor,
    radius: float,
    *,
    labels: Tensor | None = None,
    score_threshold: float | None = None,
    max_output: int | None = None,
) -> NMS:
    """Keep boxes in order of score and drop those whose centre (x, y) is within ``radius`` metres of a kept one.

    Arguments and result as :func:`nms_rotated`; a centre that is not finite is near nothing. With ``labels`` only boxes
    of one label suppress each other. CenterPoint's released code compares the squared distance with its number: pass
    the square root of that number here.
    """
    _check("nms_circle", boxes, scores, labels, max_output)
    check_range("nms_circle", "radius", radius, 0)
    return _suppress(boxes, scores, labels, radius, True, score_threshold, max_output)
