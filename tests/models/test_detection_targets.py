"""Targets, codes and losses of detection heads against plain loops and sums by hand."""

import math

import numpy as np
import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.heads.detection.anchor_head import AnchorHead, AnchorMaps
from mae3d.models.heads.detection.anchors import (
    IGNORED,
    NEGATIVE,
    Anchor,
    match_anchors,
    nearest_bev_iou,
    place_anchors,
)
from mae3d.models.heads.detection.bev_grid import BEVGrid
from mae3d.models.heads.detection.box_coders import decode_center, decode_residual, encode_center, encode_residual
from mae3d.models.heads.detection.center_head import CenterHead
from mae3d.models.heads.detection.gaussian import draw_gaussians, gaussian_radius
from mae3d.models.heads.detection.losses import heatmap_focal_loss, known_l1, sigmoid_focal_loss, smooth_l1
from mae3d.models.heads.detection.suppression import Suppression

RANGE = (-8.0, -8.0, -3.0, 8.0, 8.0, 1.0)


def random_boxes(count, columns=9, seed=0, spread=7.0):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, columns, generator=generator)
    boxes[:, :2] = (boxes[:, :2] * 2 - 1) * spread
    boxes[:, 2] = boxes[:, 2] * 2 - 2
    boxes[:, 3:6] = boxes[:, 3:6] * 3 + 0.5
    boxes[:, 6] = (boxes[:, 6] * 2 - 1) * math.pi
    return boxes


def loop_radius(length, width, overlap):
    """CornerNet's rule, one box at a time."""
    roots = []
    total, area = length + width, length * width
    for a, b, c in (
        (1, total, area * (1 - overlap) / (1 + overlap)),
        (4, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    ):
        roots.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return min(roots)


def loop_heat(shape, sample, label, column, row, radius):
    heat = np.zeros(shape)
    for b, c, x, y, r in zip(*(v.tolist() for v in (sample, label, column, row, radius))):
        deviation = (2 * r + 1) / 6
        for j in range(max(0, y - r), min(shape[2], y + r + 1)):
            for i in range(max(0, x - r), min(shape[3], x + r + 1)):
                value = math.exp(-((i - x) ** 2 + (j - y) ** 2) / (2 * deviation**2))
                heat[b, c, j, i] = max(heat[b, c, j, i], value)
    return heat


def test_radius_and_heat_map_equal_loops():
    generator = torch.Generator().manual_seed(0)
    size = torch.rand(40, 2, generator=generator) * 12 + 0.2
    expected = [loop_radius(length, width, 0.1) for length, width in size.tolist()]
    radius = gaussian_radius(size[:, 0], size[:, 1], 0.1)
    np.testing.assert_allclose(radius.numpy(), expected, rtol=1e-5)
    shape = (2, 3, 20, 24)
    draw = lambda high: torch.randint(high, (40,), generator=generator)  # noqa: E731
    places = draw(2), draw(3), draw(24), draw(20), radius.long().clamp(min=2)
    np.testing.assert_allclose(draw_gaussians(shape, *places).numpy(), loop_heat(shape, *places), atol=1e-6)
    empty = torch.zeros(0, dtype=torch.int64)
    assert draw_gaussians(shape, empty, empty, empty, empty, empty).abs().sum() == 0


def test_codes_come_back():
    boxes, anchors = random_boxes(50), random_boxes(50, seed=1)
    torch.testing.assert_close(decode_residual(encode_residual(boxes, anchors), anchors), boxes, atol=1e-5, rtol=1e-5)
    grid = BEVGrid.of(RANGE, 20, 40)
    cells = grid.to_cells(boxes[:, :2])
    again = decode_center(encode_center(boxes, cells), cells.floor())
    again[:, :2] = grid.to_metres(again[:, :2])
    torch.testing.assert_close(again, boxes, atol=1e-5, rtol=1e-5)


def test_residual_code_by_hand():
    anchor = torch.tensor([[0.0, 0, 0, 3, 4, 2, 0]])
    box = torch.tensor([[1.0, 2, 1, 6, 2, 2, 0.5]])
    expected = [[0.2, 0.4, 0.5, math.log(2), math.log(0.5), 0, 0.5]]
    torch.testing.assert_close(encode_residual(box, anchor), torch.tensor(expected))


def test_losses_by_hand():
    logits, target = torch.tensor([[[[0.3, -1.2, 2.0]]]]), torch.tensor([[[[1.0, 0.4, 0.0]]]])
    p = [1 / (1 + math.exp(-v)) for v in (0.3, -1.2, 2.0)]
    expected = -((1 - p[0]) ** 2 * math.log(p[0]))
    expected -= p[1] ** 2 * math.log(1 - p[1]) * 0.6**4 + p[2] ** 2 * math.log(1 - p[2])
    assert heatmap_focal_loss(logits, target).item() == pytest.approx(expected, rel=1e-5)
    assert heatmap_focal_loss(logits, torch.zeros_like(target)).isfinite()
    focal = sigmoid_focal_loss(torch.tensor([0.3, 0.3]), torch.tensor([1.0, 0.0]))
    assert focal[0].item() == pytest.approx(-0.25 * (1 - p[0]) ** 2 * math.log(p[0]), rel=1e-5)
    assert focal[1].item() == pytest.approx(-0.75 * p[0] ** 2 * math.log(1 - p[0]), rel=1e-5)
    beta = 1 / 9
    torch.testing.assert_close(
        smooth_l1(torch.tensor([0.05, -0.5])), torch.tensor([0.05**2 / (2 * beta), 0.5 - beta / 2])
    )
    prediction = torch.tensor([1.0, 2.0], requires_grad=True)
    loss = known_l1(prediction, torch.tensor([float("nan"), 5.0]))
    loss.sum().backward()
    assert loss.tolist() == [0.0, 3.0]
    assert prediction.grad.tolist() == [0.0, -1.0]


def center_head(**options):
    torch.manual_seed(0)
    return CenterHead(8, ("car", "bus", "bike"), RANGE, groups=(("car",), ("bike", "bus")), **options)


def test_center_targets_group_by_group():
    head = center_head(velocity=True)
    boxes = random_boxes(12)
    boxes[3, 0] = 9.0  # outside
    boxes[4, 4] = 0.0  # without a size
    labels = torch.tensor([0, 1, 2, 0, 1, 2, -1, 1, 2, 0, 1, 2])
    car, rest = head.targets([boxes[:7], boxes[7:]], [labels[:7], labels[7:]], (16, 32))
    assert car.heatmap.shape == (2, 1, 16, 32)
    assert car.sample.tolist() == [0, 1]
    assert rest.sample.tolist() == [0, 0, 0, 1, 1, 1, 1]
    torch.testing.assert_close(rest.boxes, boxes[[1, 2, 5, 7, 8, 10, 11]])
    for number, local in zip(range(7), [1, 0, 0, 1, 0, 1, 0]):
        place = rest.sample[number], local, rest.row[number], rest.column[number]
        assert rest.heatmap[place] == 1
    x, y = (boxes[0, 0] + 8) / 0.5, (boxes[0, 1] + 8) / 1.0
    assert (car.column[0], car.row[0]) == (int(x), int(y))
    torch.testing.assert_close(car.code[0, :2], torch.stack((x - int(x), y - int(y))), atol=1e-5, rtol=1e-5)


def test_center_loss_by_hand_and_decoding_of_a_perfect_map():
    head = center_head(velocity=True, loc_weight=0.25, iou=True, suppression={"threshold": 0.2})
    boxes = torch.tensor([[3.3, -2.6, -1.0, 4, 2, 1.5, 0.4, 3, float("nan")], [-4.2, 5.1, -1, 8, 2.5, 3, -2.5, 0, 1]])
    labels = torch.tensor([0, 1])
    maps = head(torch.randn(1, 8, 32, 32))
    target = head.targets([boxes], [labels], (32, 32))
    losses = head.loss(maps, [boxes], [labels])
    box = 0.0
    for group, wanted in zip(maps, target):
        code = torch.cat([group[n][0, :, wanted.row[0], wanted.column[0]] for n in head.code])
        error = (code - wanted.code[0]).abs().nan_to_num()
        box += 0.25 * (error[:8].sum() + 0.2 * error[8:].sum())
    torch.testing.assert_close(losses["loss_box"], box)
    perfect = []
    for group, wanted in zip(maps, target):
        filled = {name: torch.zeros_like(value) for name, value in group.items()}
        filled["hm"] = torch.where(wanted.heatmap == 1, 6.0, -9.0)
        start = 0
        for name, size in head.code.items():
            filled[name][0, :, wanted.row[0], wanted.column[0]] = wanted.code[0, start : start + size].nan_to_num()
            start += size
        filled["iou"] += 1
        perfect.append(filled)
    found = head.predict(perfect)[0]
    assert found["labels"].tolist() == [0, 1]
    torch.testing.assert_close(found["boxes"], boxes.nan_to_num(), atol=1e-4, rtol=1e-4)
    at_truth = head.loss(perfect, [boxes], [labels])
    assert at_truth["loss_box"] < 1e-6
    assert at_truth["loss_iou"] < 1e-3
    assert at_truth["loss_heatmap"] < 1e-4


def test_scores_are_rectified_by_the_predicted_iou():
    head = center_head(iou=True, rectify=(0.5, 0.71, 0.0))
    maps = [{n: torch.zeros(1, v.shape[1], 4, 4) for n, v in group.items()} for group in head(torch.randn(1, 8, 4, 4))]
    maps[0]["hm"][:] = -9
    maps[1]["hm"][:] = -9
    maps[0]["hm"][0, 0, 1, 1] = maps[1]["hm"][0, 0, 2, 2] = maps[1]["hm"][0, 1, 2, 3] = 1.0
    for group in maps:
        group["iou"][:] = 0.2  # an IoU of 0.6
    found = head.predict(maps)[0]
    p = 1 / (1 + math.exp(-1))
    expected = {0: p**0.5 * 0.6**0.5, 1: p**0.29 * 0.6**0.71, 2: p}
    assert set(found["labels"].tolist()) == set(expected)
    for label, score in zip(found["labels"].tolist(), found["scores"].tolist()):
        assert score == pytest.approx(expected[label], rel=1e-5)
    with pytest.raises(ConfigError, match="rectify"):
        center_head(rectify=(0.5, 0.5, 0.5))
    with pytest.raises(ConfigError, match="groups"):
        CenterHead(8, ("car", "bus"), RANGE, groups=(("car",),))


def loop_match(iou, positive, negative):
    """OpenPCDet's assigner, one anchor at a time."""
    result = []
    for row in iou:
        best = int(row.argmax())
        forced = any(value > 0 and value == column.max() for value, column in zip(row, iou.T))
        if row[best] >= positive or forced:
            result.append(best)
        else:
            result.append(NEGATIVE if row[best] < negative else IGNORED)
    return result


def test_matching_equals_a_loop():
    generator = np.random.default_rng(0)
    for _ in range(20):
        iou = (generator.random((30, 4)) * 0.8 * (generator.random((30, 4)) < 0.6)).astype(np.float32)
        iou[:, 3] = 0  # an object that no anchor touches
        assert match_anchors(torch.from_numpy(iou), 0.6, 0.45).tolist() == loop_match(iou, 0.6, 0.45)
    assert match_anchors(torch.zeros(3, 0), 0.6, 0.45).tolist() == [NEGATIVE] * 3
    assert match_anchors(torch.tensor([[0.2], [0.1]]), 0.6, 0.3, forced=0.3).tolist() == [NEGATIVE] * 2


def test_overlap_after_turning_to_the_nearest_axis():
    shapely = pytest.importorskip("shapely")
    a, b = random_boxes(12, 7, 2, spread=2), random_boxes(9, 7, 3, spread=2)

    def upright(box):
        x, y, _, length, width, _, yaw = box
        turns = round(yaw / (math.pi / 2))
        dx, dy = (length, width) if turns % 2 == 0 else (width, length)
        return shapely.box(x - dx / 2, y - dy / 2, x + dx / 2, y + dy / 2)

    first, second = [upright(v) for v in a.tolist()], [upright(v) for v in b.tolist()]
    expected = [[p.intersection(q).area / p.union(q).area for q in second] for p in first]
    np.testing.assert_allclose(nearest_bev_iou(a, b).numpy(), expected, atol=1e-5)


def anchor_head(**options):
    torch.manual_seed(0)
    anchors = (
        {"size": (3.9, 1.6, 1.56), "bottom": -1.78, "label": "Car"},
        {"size": (0.8, 0.6, 1.73), "bottom": -0.6, "label": "Walker", "positive": 0.5, "negative": 0.35},
    )
    return AnchorHead(8, ("Car", "Walker"), anchors, (-8, -8, 8, 8), **options)


def test_anchor_places():
    placed = place_anchors([Anchor((4, 2, 1.5), -1.0)], (0.0, 1.57), (-8, -4, 8, 4), 3, 5)
    assert placed.shape == (3, 5, 2, 7)
    assert placed[:, 0, 0, 1].tolist() == [-4, 0, 4]
    assert placed[0, :, 0, 0].tolist() == [-8, -4, 0, 4, 8]
    assert placed[1, 2, 1].tolist() == pytest.approx([0, 0, -0.25, 4, 2, 1.5, 1.57])


def test_anchor_targets_respect_classes_and_come_back():
    head = anchor_head()
    anchors = head.place((33, 33), torch.device("cpu"))
    boxes = torch.tensor([[1.1, 0.1, -1.0, 4.1, 1.7, 1.5, 3.0], [-3.0, 2.0, 0.2, 0.8, 0.6, 1.7, 1.2]])
    target = head.targets(anchors, boxes, torch.tensor([0, 1]))
    positive = target.labels >= 0
    assert set(target.labels[positive].tolist()) == {0, 1}
    sizes = anchors[positive, 3]
    assert ((sizes > 2) == (target.labels[positive] == 0)).all()
    decoded = decode_residual(target.codes[positive], anchors[positive])
    torch.testing.assert_close(decoded, boxes[target.labels[positive]], atol=1e-5, rtol=1e-4)
    # The direction bin and the yaw modulo pi give the heading back, whatever multiple of pi was added to it.
    turned = head._resolve_direction(decoded[:, 6] + math.pi, target.directions[positive])
    torch.testing.assert_close(turned, boxes[target.labels[positive], 6], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("normalize", ["sample", "batch"])
def test_anchor_loss_by_hand(normalize):
    head = anchor_head(normalize=normalize)
    boxes = [random_boxes(3, 7, 4), random_boxes(1, 7, 5)]
    labels = [torch.tensor([0, 1, 0]), torch.tensor([1])]
    maps = head(torch.randn(2, 8, 12, 12))
    anchors = head.place(maps.shape, torch.device("cpu"))
    targets = [head.targets(anchors, box, label) for box, label in zip(boxes, labels)]
    counts = [int((t.labels >= 0).sum()) for t in targets]
    expected = {"loss_class": 0.0, "loss_box": 0.0, "loss_direction": 0.0}
    for number, target in enumerate(targets):
        share = 1 / sum(counts) if normalize == "batch" else 1 / counts[number] / 2
        for a, label in enumerate(target.labels.tolist()):
            if label == IGNORED:
                continue
            wanted = torch.zeros(2)
            if label >= 0:
                wanted[label] = 1
            focal = sigmoid_focal_loss(maps.scores[number, a], wanted).sum().item()
            expected["loss_class"] += share * focal
            if label < 0:
                continue
            difference = maps.codes[number, a] - target.codes[a]
            difference[6] = difference[6].sin()
            expected["loss_box"] += share * 2 * smooth_l1(difference).sum().item()
            logit = maps.directions[number, a].log_softmax(0)[target.directions[a]].item()
            expected["loss_direction"] -= share * 0.2 * logit
    losses = {name: value.item() for name, value in head.loss(maps, boxes, labels).items()}
    assert losses == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["rotated", "class"])
def test_anchor_head_decodes_what_it_was_told(kind):
    head = anchor_head(suppression={"kind": kind, "threshold": 0.1, "before": 500, "after": 50})
    anchors = head.place((24, 24), torch.device("cpu"))
    boxes = torch.tensor([[1.1, 0.1, -1.0, 4.1, 1.7, 1.5, 3.0], [-3.0, 2.0, 0.2, 0.8, 0.6, 1.7, -1.2]])
    target = head.targets(anchors, boxes, torch.tensor([0, 1]))
    scores = torch.full((1, len(anchors), 2), -9.0)
    positive = target.labels >= 0
    scores[0, positive, target.labels[positive]] = 3.0
    directions = torch.nn.functional.one_hot(target.directions, 2).float()[None]
    found = head.predict(AnchorMaps(scores, target.codes[None], directions, (24, 24)))[0]
    order = found["labels"].argsort()
    torch.testing.assert_close(found["boxes"][order], boxes, atol=1e-4, rtol=1e-4)
    nothing = head.predict(AnchorMaps(scores * 0 - 9, target.codes[None], directions, (24, 24)))[0]
    assert nothing["boxes"].shape == (0, 7)


def test_anchor_head_without_objects_and_without_known_velocity():
    head = anchor_head(velocity=True)
    maps = head(torch.randn(2, 8, 12, 12))
    boxes = random_boxes(2, 9)
    boxes[:, 7:] = torch.nan
    losses = head.loss(maps, [boxes, boxes[:0]], [torch.tensor([0, 1]), torch.zeros(0, dtype=torch.int64)])
    sum(losses.values()).backward()
    assert all(value.isfinite() for value in losses.values())
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_suppression_kinds():
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1, 0], [0.2, 0, 0, 4, 2, 1, 0], [9, 0, 0, 4, 2, 1, 0]])
    scores, labels = torch.tensor([0.5, 0.9, 0.7]), torch.tensor([0, 1, 0])
    keep = lambda **options: Suppression(**options)(boxes, scores, labels).tolist()  # noqa: E731
    assert keep(kind="rotated") == [1, 2]
    assert keep(kind="class") == [1, 2, 0]
    assert sorted(keep(kind="class", threshold=(0.2, 0.2))) == [0, 1, 2]
    assert keep(kind="circle", threshold=1.0) == [1, 2]
    assert keep(kind="none", after=1) == [1]
    assert keep(before=1) == [1]
    far = torch.cat([boxes + torch.tensor([0, 20.0 * n, 0, 0, 0, 0, 0]) for n in range(3)])
    rank, kind = torch.arange(9.0) / 10, torch.tensor([0, 1, 0]).repeat(3)
    some = Suppression(kind="class", threshold=0.2, before=(3, 9), after=(9, 2))(far, rank, kind).tolist()
    assert some == [8, 6, 5, 7, 4]  # the best three of class 0; two of class 1
    with pytest.raises(ConfigError, match="kind"):
        Suppression(kind="soft")
    with pytest.raises(ConfigError, match="must be as many"):
        Suppression(kind="class", threshold=(0.1, 0.2), after=(1, 2, 3))
    with pytest.raises(ConfigError, match="class"):
        Suppression(before=(1, 2))
    with pytest.raises(ConfigError, match="class"):
        Suppression(threshold=(0.1, 0.2))
