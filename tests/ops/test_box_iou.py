"""Overlap of rotated boxes against shapely, finite differences and closed forms."""

from __future__ import annotations

import math

import pytest
import shapely
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import box_giou_3d, box_intersection_bev, box_iou_3d, box_iou_bev
from mae3d.ops.reference import box_iou as reference
from tests.ops.harness import DEVICES, check_compiles, check_grad, check_op, generator

MEASURES = [box_intersection_bev, box_iou_bev, box_iou_3d, box_giou_3d]


def clustered_boxes(count: int, seed: int, shift: float = 0.0) -> Tensor:
    """Boxes [N, 7] of the size of cars, several around each of a few places."""
    draw = generator(seed)
    places = torch.rand(max(1, count // 8), 3, generator=draw) * torch.tensor([40.0, 40.0, 1.0])
    centre = places[torch.randint(0, len(places), (count,), generator=draw)]
    centre = centre + 0.7 * torch.randn(count, 3, generator=draw) + shift
    size = torch.tensor([4.5, 1.9, 1.7]) * (0.7 + 0.6 * torch.rand(count, 3, generator=draw))
    yaw = (torch.rand(count, 1, generator=draw) * 2 - 1) * math.pi
    return torch.cat((centre, size, yaw), dim=1)


def polygon(box: Tensor) -> shapely.Polygon:
    """The box seen from above, built by shapely's own rotation."""
    x, y, _, length, width, _, yaw = box.tolist()
    flat = shapely.box(-length / 2, -width / 2, length / 2, width / 2)
    return shapely.affinity.translate(shapely.affinity.rotate(flat, yaw, origin=(0, 0), use_radians=True), x, y)


def heights(a: Tensor, b: Tensor) -> tuple[float, float]:
    """Common and joint extent in height."""
    low, high = (
        sorted((float(a[2] - a[5] / 2), float(b[2] - b[5] / 2))),
        sorted((float(a[2] + a[5] / 2), float(b[2] + b[5] / 2))),
    )
    return max(0.0, high[0] - low[1]), high[1] - low[0]


def by_shapely(a: Tensor, b: Tensor) -> list[float]:
    first, second = polygon(a), polygon(b)
    area = first.intersection(second).area
    common, joint = heights(a, b)
    volume = area * common
    union = first.area * float(a[5]) + second.area * float(b[5]) - volume
    hull = shapely.union(first, second).convex_hull.area * joint
    bev = area / (first.area + second.area - area)
    return [area, bev, volume / union, volume / union - 1 + union / hull]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_equals_shapely(shift: float, device: str) -> None:
    a, b = clustered_boxes(60, 1, shift).double(), clustered_boxes(50, 1, shift).double()
    got = torch.stack([measure(a.to(device), b.to(device)).cpu() for measure in MEASURES], dim=-1)
    # Shapely works in world coordinates and is itself off at 1e6 m: the oracle is moved back, which is exact enough.
    back = torch.tensor([shift, shift, shift, 0, 0, 0, 0]).double()
    want = torch.tensor([[by_shapely(x - back, y - back) for y in b] for x in a]).double()
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-8)
    assert (got[..., 0] > 0).sum() > 100


@pytest.mark.parametrize("device", DEVICES)
def test_float32_is_close(device: str) -> None:
    a, b = clustered_boxes(60, 3), clustered_boxes(50, 3)
    for measure in MEASURES:
        got = measure(a.to(device), b.to(device)).cpu()
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), measure(a.double(), b.double()), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("yaw", [0.0, 0.3, math.pi / 4, math.pi / 2, -3.0])
def test_closed_forms(yaw: float) -> None:
    box = torch.tensor([[1.0, -2.0, 0.5, 4.0, 2.0, 1.5, yaw]], dtype=torch.float64)
    for measure, value in zip(MEASURES, (8.0, 1.0, 1.0, 1.0)):
        assert measure(box, box).item() == pytest.approx(value, abs=1e-12)
        turned = box + torch.tensor([0, 0, 0, 0, 0, 0, math.pi], dtype=torch.float64)
        assert measure(box, turned).item() == pytest.approx(value, abs=1e-12)
    ahead = box + torch.tensor([2 * math.cos(yaw), 2 * math.sin(yaw), 0, 0, 0, 0, 0], dtype=torch.float64)
    assert box_intersection_bev(box, ahead).item() == pytest.approx(4.0)
    assert box_iou_bev(box, ahead).item() == pytest.approx(1 / 3)
    assert box_iou_3d(box, ahead + torch.tensor([0, 0, 0.75, 0, 0, 0, 0])).item() == pytest.approx(1 / 7)
    touching = box + torch.tensor([4 * math.cos(yaw), 4 * math.sin(yaw), 0, 0, 0, 0, 0], dtype=torch.float64)
    assert box_iou_bev(box, touching).item() == pytest.approx(0, abs=1e-12)
    assert box_giou_3d(box, touching).item() == pytest.approx(0, abs=1e-12)
    apart = box + torch.tensor([8 * math.cos(yaw), 8 * math.sin(yaw), 0, 0, 0, 0, 0], dtype=torch.float64)
    assert box_giou_3d(box, apart).item() == pytest.approx(-1 / 3)


def test_properties() -> None:
    a, b = clustered_boxes(80, 5).double(), clustered_boxes(70, 5).double()
    for measure in MEASURES:
        matrix = measure(a, b)
        torch.testing.assert_close(matrix, measure(b, a).T)
        torch.testing.assert_close(matrix[range(70), range(70)], measure(a[:70], b, paired=True))
        batched = measure(torch.stack((a[:70], b)), torch.stack((b, a[:70])))
        torch.testing.assert_close(batched[0], matrix[:70])
    assert (box_giou_3d(a, b) <= box_iou_3d(a, b) + 1e-12).all()
    assert (box_giou_3d(a, b) > -1).all()


@pytest.mark.parametrize("measure", MEASURES)
def test_gradient_equals_finite_differences(measure) -> None:
    a, b = clustered_boxes(5, 7), clustered_boxes(6, 7)
    check_grad(measure, a, b)
    check_grad(lambda a, b: measure(a, b, paired=True), a, b[:5])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", range(4))
def test_equals_reference(kind: int, device: str) -> None:
    a, b = clustered_boxes(30, 8)[None].double().to(device), clustered_boxes(40, 8)[None].double().to(device)
    values = torch.ops.mae3d.box_iou(a, b, kind)
    torch.testing.assert_close(values, reference.box_iou(a, b, kind), rtol=1e-10, atol=1e-10)
    grad = torch.rand(values.shape, generator=generator(1), dtype=torch.float64).to(device)
    got = torch.ops.mae3d.box_iou_backward(grad, a, b, kind)
    for x, y in zip(got, reference.box_iou_backward(grad, a, b, kind)):
        torch.testing.assert_close(x, y, rtol=1e-8, atol=1e-8)


def test_gradient_pulls_boxes_together() -> None:
    target = clustered_boxes(20, 9)
    box = (target + 0.5 * torch.randn(20, 7, generator=generator(2)).clamp(-1, 1)).requires_grad_()
    optimizer = torch.optim.Adam([box], lr=0.03)
    for _ in range(200):
        loss = (1 - box_giou_3d(box, target, paired=True)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert box_iou_3d(box, target, paired=True).min() > 0.9


@pytest.mark.parametrize("device", DEVICES)
def test_gradient_stays_finite_where_edges_coincide(device: str) -> None:
    box = clustered_boxes(10, 3).to(device)
    for measure in MEASURES:
        moved = box.clone().requires_grad_()
        measure(moved, box).sum().backward()
        assert moved.grad is not None
        assert moved.grad.isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
def test_invalid_boxes_overlap_nothing(device: str) -> None:
    box = torch.tensor([0.0, 0, 0, 4, 2, 1.5, 0.3])
    bad = box.repeat(8, 1)
    bad[0, 3], bad[1, 4], bad[2, 5] = 0, -2, 0
    bad[3, 0], bad[4, 6], bad[5, 3], bad[6, 2], bad[7, 1] = torch.nan, torch.nan, torch.inf, -torch.inf, 1e20
    bad = bad.to(device).requires_grad_()
    box = box[None].to(device)
    for measure, value in zip(MEASURES, (0, 0, 0, -1)):
        result = measure(bad, box)
        assert result.eq(value).all()
        assert measure(bad.detach(), bad.detach()).eq(value).all()
        (gradient,) = torch.autograd.grad(result.sum(), bad)
        assert gradient.eq(0).all()


def test_extreme_sizes_stay_in_range() -> None:
    draw = generator(4)
    for exponent in (-18, -3, 6, 13):
        boxes = clustered_boxes(40, 6)
        boxes[:, 3:6] *= 10.0 ** torch.randint(-3, 4, (40, 3), generator=draw)
        boxes[:, :6] *= 10.0**exponent
        for measure in MEASURES[1:]:
            values = measure(boxes, boxes)
            assert values.isfinite().all()
            assert values.le(1).all()
            torch.testing.assert_close(values.diagonal(), torch.ones(40))


def test_thread_count_does_not_change_a_bit() -> None:
    a, b = clustered_boxes(300, 1).requires_grad_(), clustered_boxes(200, 1)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        values = box_giou_3d(a, b)
        results.append((values, *torch.autograd.grad(values.sum(), a)))
    assert all(torch.equal(x, y) for x, y in zip(*results))


def test_empty_half_and_traces() -> None:
    boxes = clustered_boxes(6, 1)
    assert box_iou_bev(boxes, boxes[:0]).shape == (6, 0)
    assert box_iou_bev(boxes[:0], boxes).shape == (0, 6)
    assert box_iou_3d(boxes[:0], boxes[:0], paired=True).shape == (0,)
    assert box_iou_3d(boxes.bfloat16(), boxes).dtype == torch.float32
    check_op(torch.ops.mae3d.box_iou.default, (boxes[None].requires_grad_(), boxes[None], 3))
    check_compiles(lambda a, b: box_giou_3d(a, b, paired=True), boxes.requires_grad_(), boxes.detach())


@pytest.mark.parametrize(
    ("a", "b", "paired", "message"),
    [
        ((5, 6), (5, 7), False, "'a' must have shape"),
        ((5, 7), (2, 5, 7), False, "as many axes"),
        ((3, 5, 7), (2, 5, 7), False, r"'b' must have shape \[3"),
        ((5, 7), (4, 7), True, r"'b' must have shape \[5"),
        ((7,), (4, 7), False, r"\[N, 7\] or"),
    ],
)
def test_wrong_input_is_named(a, b, paired: bool, message: str) -> None:
    with pytest.raises(OperatorInputError, match=message):
        box_iou_3d(torch.rand(a), torch.rand(b), paired=paired)


def test_kernel_called_directly_is_safe() -> None:
    with pytest.raises(RuntimeError, match="'kind' must be"):
        torch.ops.mae3d.box_iou(torch.rand(1, 2, 7), torch.rand(1, 2, 7), 9)
    with pytest.raises(RuntimeError, match="'grad' must have size"):
        torch.ops.mae3d.box_iou_backward(torch.rand(1, 2, 3), torch.rand(1, 2, 7), torch.rand(1, 2, 7), 0)
