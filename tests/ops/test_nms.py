"""Suppression against a loop over a matrix of shapely overlaps, and its written contract."""

from __future__ import annotations

import pytest
import shapely
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import nms_circle, nms_class_aware, nms_rotated
from mae3d.ops.reference import nms as reference
from mae3d.ops.reference.box_iou import corners_bev
from tests.ops.harness import DEVICES, check_compiles, check_op, generator


def detections(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [N, 7] in clusters, scores with ties, labels of three classes."""
    draw = generator(seed)
    places = torch.rand(max(1, count // 8), 2, generator=draw) * 60
    xy = places[torch.randint(0, len(places), (count,), generator=draw)] + 0.7 * torch.randn(count, 2, generator=draw)
    size = torch.tensor([4.5, 1.9, 1.7]) * (0.7 + 0.6 * torch.rand(count, 3, generator=draw))
    yaw = torch.rand(count, 1, generator=draw) * 6.28
    boxes = torch.cat((xy, torch.zeros(count, 1), size, yaw), dim=1)
    scores = (torch.rand(count, generator=draw) * 50).round() / 50
    return boxes, scores, torch.randint(0, 3, (count,), generator=draw)


def greedy(suppresses: Tensor, scores: Tensor) -> list[int]:
    """Kept indices, from a bool matrix and scores; lower index first among equals."""
    order = sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))
    kept: list[int] = []
    for i in order:
        if not any(suppresses[k, i] for k in kept):
            kept.append(i)
    return kept


def shapely_iou(boxes: Tensor) -> Tensor:
    polygons = [shapely.Polygon(corners) for corners in corners_bev(boxes.double()).numpy()]
    areas = [[p.intersection(q).area for q in polygons] for p in polygons]
    inter = torch.tensor(areas)
    own = inter.diagonal()
    return inter / (own[:, None] + own - inter)


def check(got, want: list[int]) -> None:
    assert got.count.item() == len(want)
    assert got.keep[: len(want)].tolist() == want
    assert got.keep[len(want) :].eq(-1).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.5, 0.9])
def test_rotated_and_class_aware(threshold: float, device: str) -> None:
    boxes, scores, labels = detections(150, 1)
    iou = shapely_iou(boxes)
    on = boxes.to(device), scores.to(device)
    check(nms_rotated(*on, threshold), greedy(iou > threshold + 1e-12, scores))
    same = labels[:, None] == labels
    check(nms_class_aware(*on, labels.to(device), threshold), greedy((iou > threshold + 1e-12) & same, scores))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("radius", [0.0, 0.5, 3.0])
def test_circle(radius: float, device: str) -> None:
    boxes, scores, labels = detections(300, 2)
    boxes[7] = boxes[5]
    near = (boxes[:, None, :2].double() - boxes[None, :, :2].double()).square().sum(-1) <= radius**2
    check(nms_circle(boxes.to(device), scores.to(device), radius), greedy(near, scores))
    near &= labels[:, None] == labels
    check(nms_circle(boxes.to(device), scores.to(device), radius, labels=labels.to(device)), greedy(near, scores))


@pytest.mark.parametrize("device", DEVICES)
def test_equals_reference_in_batches(device: str) -> None:
    parts = [detections(160, seed) for seed in range(3)]
    boxes, scores, labels = (torch.stack(part).to(device) for part in zip(*parts))
    for circle in (False, True):
        order = scores.argsort(dim=1, descending=True, stable=True)
        ranked, names = boxes.gather(1, order[..., None].expand(-1, -1, 7)), labels.gather(1, order)
        valid = torch.rand(scores.shape, generator=generator(3)).to(device) < 0.9
        arguments = (ranked, names, valid, 0.3, circle, 40)
        for x, y in zip(torch.ops.mae3d.nms_sorted(*arguments), reference.nms_sorted(*arguments)):
            assert torch.equal(x, y)
    batched = nms_rotated(boxes, scores, 0.3, max_output=20)
    for sample in range(3):
        alone = nms_rotated(boxes[sample], scores[sample], 0.3, max_output=20)
        assert torch.equal(alone.keep, batched.keep[sample])
        assert torch.equal(alone.count, batched.count[sample])


@pytest.mark.parametrize("device", DEVICES)
def test_limits_and_invalid_boxes(device: str) -> None:
    boxes, scores, _ = detections(100, 4)
    boxes, scores = boxes.to(device), scores.to(device)
    full = nms_rotated(boxes, scores, 0.2)
    short = nms_rotated(boxes, scores, 0.2, max_output=5)
    assert short.keep.tolist() == full.keep[:5].tolist()
    some = nms_rotated(boxes, scores, 0.2, score_threshold=0.5)
    assert scores[some.keep[: some.count]].gt(0.5).all()
    assert nms_rotated(boxes, scores, 0.2, max_output=0).keep.shape == (0,)

    bad = boxes[:1].repeat(6, 1)
    bad[1, 3], bad[2, 0], bad[3, 4] = 0, torch.nan, -1
    ranked = torch.tensor([0.1, 0.9, 0.8, 0.7, 0.2, torch.nan], device=device)
    assert nms_rotated(bad, ranked, 0.5).keep.tolist() == [1, 2, 3, 4, -1, -1]
    assert nms_circle(bad, ranked, 0.5).keep.tolist() == [1, 2, -1, -1, -1, -1]


def test_empty_and_traces() -> None:
    empty = nms_rotated(torch.zeros(0, 7), torch.zeros(0), 0.5)
    assert empty.keep.shape == (0,)
    assert empty.count.item() == 0
    boxes, scores, labels = detections(30, 5)
    check_op(torch.ops.mae3d.nms_sorted.default, (boxes[None], labels[None], torch.ones(1, 30).bool(), 0.5, False, 9))
    check_compiles(lambda b, s: nms_rotated(b, s, 0.2, max_output=10), boxes, scores)
    check_compiles(lambda b, s, c: nms_class_aware(b, s, c, 0.2), boxes, scores, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b, s: nms_rotated(b[:, :6], s, 0.5), "'boxes' must have shape"),
        (lambda b, s: nms_rotated(b, s[:4], 0.5), "'scores' must have shape"),
        (lambda b, s: nms_rotated(b, s, 1.5), "'iou_threshold' must be in"),
        (lambda b, s: nms_circle(b, s, -1.0), "'radius' must be >= 0"),
        (lambda b, s: nms_class_aware(b, s, s, 0.5), "'labels' must have dtype int64"),
        (lambda b, s: nms_rotated(b, s, 0.5, max_output=-1), "'max_output' must be >= 0"),
    ],
)
def test_wrong_input_is_named(call, message: str) -> None:
    with pytest.raises(OperatorInputError, match=message):
        call(torch.rand(5, 7), torch.rand(5))
