"""Rotated box overlap, suppression and points in boxes beside their peers.

python benchmarks/bm_boxes.py
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, mmcv_ops, run
from mae3d.ops import box_iou_bev, nms_circle, nms_rotated, points_in_boxes

TITLE = "Rotated boxes: IoU seen from above, suppression, points in boxes"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def clustered(count: int) -> tuple[Tensor, Tensor]:
    """Boxes [N, 7] and scores [N] as a detector emits them before suppression: eight around each place."""
    draw = np.random.default_rng(0)
    places = draw.uniform(-50, 50, (max(1, count // 8), 2))
    xy = places[draw.integers(0, len(places), count)] + draw.normal(0, 0.7, (count, 2))
    size = np.abs(draw.normal([1.9, 4.5], [0.2, 0.5], (count, 2))) + 0.1
    yaw = draw.uniform(-np.pi, np.pi, (count, 1))
    boxes = np.concatenate([xy, np.zeros((count, 1)), size, np.full((count, 1), 1.7), yaw], 1)
    scores = torch.from_numpy(draw.uniform(size=count).astype("float32"))
    return torch.from_numpy(boxes.astype("float32")).to(DEVICE), scores.to(DEVICE)


def shapely_iou(boxes: Tensor) -> Call:
    import shapely

    values = boxes.double().cpu().numpy()

    def call() -> np.ndarray:
        c, s = np.cos(values[:, 6])[:, None], np.sin(values[:, 6])[:, None]
        x = np.array([-0.5, 0.5, 0.5, -0.5]) * values[:, 3:4]
        y = np.array([-0.5, -0.5, 0.5, 0.5]) * values[:, 4:5]
        corners = np.stack([x * c - y * s + values[:, :1], x * s + y * c + values[:, 1:2]], -1)
        polygons = shapely.polygons(corners)
        i, j = shapely.STRtree(polygons).query(polygons, predicate="intersects")
        inter = shapely.area(shapely.intersection(polygons[i], polygons[j]))
        area = shapely.area(polygons)
        matrix = np.zeros((len(values), len(values)))
        matrix[i, j] = inter / (area[i] + area[j] - inter)
        return matrix

    return call


def mmcv_boxes(boxes: Tensor) -> Tensor:
    return boxes[:, [0, 1, 3, 4, 6]].contiguous()


def iou_case(count: int) -> Case:
    boxes, _ = clustered(count)
    case = Case(f"iou_{count}x{count}", lambda: box_iou_bev(boxes, boxes), bytes_moved=4.0 * count * count)
    if DEVICE == "cpu":
        case.peers["shapely_tree"] = shapely_iou(boxes)
    ops = mmcv_ops(case.absent)
    if ops:
        flat = mmcv_boxes(boxes)
        case.peers["mmcv"] = lambda: ops.box_iou_rotated(flat, flat)
    return case


def torch_greedy(overlap: Tensor, scores: Tensor) -> list[int]:
    """Plain torch: one row of a finished bool matrix per kept box."""
    order = scores.argsort(descending=True, stable=True)
    alive, kept = torch.ones(len(scores), dtype=torch.bool), []
    for i in order.tolist():
        if alive[i]:
            kept.append(i)
            alive &= ~overlap[i]
    return kept


def rotated_case(count: int) -> Case:
    boxes, scores = clustered(count)
    case = Case(
        f"nms_rotated_{count}",
        lambda: nms_rotated(boxes, scores, 0.2),
        {"torch_on_our_iou": lambda: torch_greedy((box_iou_bev(boxes, boxes) > 0.2).cpu(), scores.cpu())},
    )
    ops = mmcv_ops(case.absent)
    if ops:
        flat = mmcv_boxes(boxes)
        case.peers["mmcv"] = lambda: ops.nms_rotated(flat, scores, 0.2)
    return case


def circle_case(count: int) -> Case:
    import numba

    boxes, scores = clustered(count)
    rows = np.concatenate([boxes[:, :2].cpu().numpy(), scores[:, None].cpu().numpy()], 1)

    @numba.njit
    def loop(rows: np.ndarray, squared: float) -> list[int]:
        order = np.argsort(-rows[:, 2])
        gone = np.zeros(len(rows), np.bool_)
        kept = []
        for position in range(len(order)):
            i = order[position]
            if gone[i]:
                continue
            kept.append(i)
            for later in range(position + 1, len(order)):
                j = order[later]
                if (rows[i, 0] - rows[j, 0]) ** 2 + (rows[i, 1] - rows[j, 1]) ** 2 <= squared:
                    gone[j] = True
        return kept

    return Case(
        f"nms_circle_{count}",
        lambda: nms_circle(boxes, scores, math.sqrt(2.0)),
        {"numba_loop": lambda: loop(rows, 2.0)},
    )


def points_case(count: int, boxes_count: int) -> Case:
    boxes = clustered(boxes_count)[0][None]
    points = ((torch.rand(1, count, 3, generator=torch.Generator().manual_seed(0)) - 0.5) * 100).to(DEVICE)
    points[..., 2] *= 0.02

    def plain() -> Tensor:
        step = points[0, None] - boxes[0, :, None, :3]
        cos, sin = boxes[0, :, None, 6].cos(), boxes[0, :, None, 6].sin()
        along = (step[..., 0] * cos + step[..., 1] * sin).abs() <= boxes[0, :, None, 3] / 2
        across = (step[..., 1] * cos - step[..., 0] * sin).abs() <= boxes[0, :, None, 4] / 2
        inside = along & across & (step[..., 2].abs() <= boxes[0, :, None, 5] / 2)
        return inside.int().argmax(0)

    case = Case(f"points_{count}_in_{boxes_count}", lambda: points_in_boxes(points, boxes), {"torch": plain})
    case.bytes_moved = points.nbytes + 8.0 * count
    ops = mmcv_ops(case.absent)
    if ops and DEVICE == "cuda":
        case.peers["mmcv"] = lambda: ops.points_in_boxes_part(points, boxes)
    return case


def cases() -> list[Case]:
    return [iou_case(1000), rotated_case(1000), rotated_case(4096), circle_case(1000), points_case(120_000, 60)]


if __name__ == "__main__":
    run(TITLE, cases())
