"""Non-maximum suppression in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.ops.reference import box_iou


def nms_sorted(
    boxes: Tensor, labels: Tensor | None, valid: Tensor, threshold: float, circle: bool, max_output: int
) -> tuple[Tensor, Tensor]:
    """Reference of ``mae3d::nms_sorted`` (csrc/boxes/nms.h)."""
    if circle:
        step = boxes[:, :, None, :2].double() - boxes[:, None, :, :2].double()
        suppresses = step.square().sum(-1) <= threshold * threshold
    else:
        wide = boxes.double()
        suppresses = box_iou.box_iou(wide, wide, box_iou.IOU_BEV) > threshold
        usable = box_iou.valid_boxes(wide)
        suppresses = suppresses & usable[:, :, None] & usable[:, None]
    if labels is not None:
        suppresses = suppresses & (labels[:, :, None] == labels[:, None])
    size = min(max_output, boxes.shape[1])
    keep = torch.full((len(boxes), size), -1, dtype=torch.int64, device=boxes.device)
    count = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    for sample, matrix in enumerate(suppresses):
        alive, kept = valid[sample].clone(), []
        for i in range(boxes.shape[1]):
            if alive[i] and len(kept) < size:
                kept.append(i)
                alive &= ~matrix[i]
        keep[sample, : len(kept)] = torch.tensor(kept, dtype=torch.int64, device=boxes.device)
        count[sample] = len(kept)
    return keep, count
