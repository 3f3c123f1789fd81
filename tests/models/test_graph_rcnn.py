"""The second stage: points of boxes, network and losses against loops, and what a detector makes of it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mae3d.checkpoints.gd_mae import TWO_STAGE
from mae3d.errors import ConfigError
from mae3d.models.heads.detection import GraphRefiner, TwoStageDetector, gd_mae_centerpoint, gd_mae_two_stage
from mae3d.models.heads.detection.graph_refiner import Refinement, apply_code, corner_distance, local_code
from mae3d.models.heads.detection.proposal_targets import ProposalSampler, match_proposals, score_target
from mae3d.models.heads.detection.roi_points import RoiPointSampler
from mae3d.models.layers.edge_conv import EdgeConv
from mae3d.structures.boxes import rotate_bev, wrap_angle
from tests.oracles import graph_rcnn as oracle

NETWORK = {"edge_channels": (8, 8, 12), "gate_channels": 6, "hidden_channels": 20, "embed_dim": 16}
SIZES = {"edges": (8, 8, 12), "gate": 6, "hidden": 20, "out": 16}
DETECTOR = {
    "classes": ("Car", "Pedestrian"),
    "point_range": (-8.0, -8.0, -2.0, 8.0, 8.0, 2.0),
    "pillar": 1.0,
    "in_channels": 4,
    "vfe_channels": (8,),
    "widths": (16, 16, 16),
    "depth": 1,
    "embed_dim": 8,
    "encoder": {"num_heads": 2, "window": 4},
    "head": {"shared_channels": 8, "score_threshold": 0.0},
}
GRAPH = {"refiner": {**NETWORK, "sampler": {"num_points": 16}}, "sampler": {"count": 24}}


def scene(seed: int = 0, columns: int = 5) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two clouds, and boxes that overlap each other; the third holds no point, the last a single one."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(500, columns, generator=generator) * torch.tensor([2.0, 2, 0.8, *[1] * (columns - 3)])
    points[499, :3] = torch.tensor([20.0, 20, 0])
    boxes = torch.tensor(
        [
            [0.0, 0, 0, 4, 2, 1.5, 0.3],
            [0.5, 0.5, 0, 3, 2, 1.5, -1.2],
            [40.0, 0, 0, 4, 2, 1.5, 0],
            [1.0, -1, 0.2, 1, 1, 2, 2.0],
            [20.0, 20, 0, 4, 2, 1.5, 3.0],
        ]
    )
    return points, torch.tensor([0, 280, 500]), boxes, torch.tensor([0, 3, 5])


def random_boxes(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.rand(count, 7, generator=generator)
    return boxes * torch.tensor([10.0, 10, 1, 4, 2, 1, 6.2]) + torch.tensor([-5.0, -5, 0, 1, 1, 1, -3.1])


@pytest.mark.parametrize(("most", "count"), [(1024, 24), (40, 24), (1024, 400)])
def test_points_of_boxes_equal_a_loop(most: int, count: int) -> None:
    points, offsets, boxes, box_offsets = scene()
    found = RoiPointSampler(count, most, cell=0.3)(points, offsets, boxes, box_offsets)
    kinds = set()
    for number, box in enumerate(boxes):
        sample = int(number >= 3)
        first, last = offsets[sample : sample + 2].tolist()
        rows = oracle.pooled(points[first:last], box, 0.8, 0.3, 50.0, most, count)
        kinds.add(len(set(rows)) if len(set(rows)) < 2 else count if len(set(rows)) == count else -1)
        assert found.rows[number].tolist() == ([first + row for row in rows] or [-1] * count)
        assert found.counts[number] == len(set(rows))
        wanted = oracle.node_features(points[first:last], box, rows, count)[:, :3]
        torch.testing.assert_close(found.local[number].double(), wanted, rtol=0, atol=1e-5)
    assert kinds >= {0, 1}
    assert (count in kinds) == (count == 24)


@pytest.mark.parametrize("points", [0, 30])
def test_boxes_of_which_none_holds_a_point(points: int) -> None:
    cloud, offsets = torch.randn(points, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, points])
    boxes = torch.tensor([[40.0, 0, 0, 4, 2, 1.5, 0], [50.0, 0, 0, 4, 2, 1.5, 1]])
    found = RoiPointSampler(8)(cloud, offsets, boxes, torch.tensor([0, 2]))
    assert found.counts.tolist() == [0, 0]
    assert (found.rows == -1).all()
    assert found.rows.shape == (2, 8)
    assert not found.local.any()
    refined = GraphRefiner(5, sampler={"num_points": 8}, **NETWORK)(cloud, offsets, boxes, torch.tensor([0, 2]))
    assert refined.codes.isfinite().all()


def test_far_boxes_have_finer_cells() -> None:
    points = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1
    box, sampler = torch.tensor([[0.0, 0, 0, 2, 2, 2, 0]]), RoiPointSampler(4000, 4000, margin=(0, 0, 0))
    counts = []
    for away in (0.0, 30.0, 60.0):
        shift = torch.tensor([away, 0, 0])
        moved = box + torch.nn.functional.pad(shift, (0, 4))
        counts.append(int(sampler(points + shift, torch.tensor([0, 4000]), moved, torch.tensor([0, 1])).counts))
    assert counts == sorted(counts)
    sides = [0.18 * math.exp(-away / 50) for away in (0.0, 60.0)]
    assert counts[0] <= (int(2 / sides[0])) ** 3 < counts[2]


def test_edge_convolution_equals_its_definition() -> None:
    torch.manual_seed(0)
    layer, x = EdgeConv(4, 6).double(), torch.randn(2, 7, 4, dtype=torch.float64)
    near = torch.randint(0, 7, (2, 7, 3))
    edges = [(b, i, j) for b in range(2) for i in range(7) for j in near[b, i]]
    pairs = torch.stack([torch.cat((x[b, j] - x[b, i], x[b, i])) for b, i, j in edges])
    wanted = layer.norm(layer.linear(pairs)).relu().view(2, 7, 3, 6).amax(2)
    layer.norm.reset_running_stats()
    torch.testing.assert_close(layer(x, near), wanted)


@pytest.mark.parametrize("columns", [3, 5])
def test_refinement_equals_the_restated_network(columns: int) -> None:
    points, offsets, boxes, box_offsets = scene(columns=columns)
    state = oracle.official_state(columns, **SIZES)
    model = GraphRefiner(columns, neighbours=4, sampler={"num_points": 12}, **NETWORK).eval()
    ours, unknown = TWO_STAGE.to_ours(state)
    assert not unknown
    model.load_state_dict({name.removeprefix("refiner."): value for name, value in ours.items()})
    with torch.no_grad():
        found = model(points, offsets, boxes, box_offsets)
    for number, box in enumerate(boxes):
        sample = int(number >= 3)
        cloud = points[offsets[sample] : offsets[sample + 1]]
        rows = oracle.pooled(cloud, box, 0.8, 0.18, 50.0, 1024, 12)
        logit, code = oracle.refine(oracle.node_features(cloud, box, rows, 12), state, 4)
        torch.testing.assert_close(found.logits[number], logit.float(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(found.codes[number], code.float(), rtol=1e-3, atol=1e-3)


def test_losses_equal_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    boxes = random_boxes(40)
    objects = boxes + 0.4 * torch.randn(40, 7, generator=generator) * torch.tensor([1.0, 1, 1, 0.2, 0.2, 0.2, 9])
    overlap = torch.linspace(0, 1, 40)
    found = Refinement(torch.randn(40, generator=generator), 0.3 * torch.randn(40, 7, generator=generator))
    losses = GraphRefiner(**NETWORK).loss(found, boxes, objects, overlap)
    for name, wanted in oracle.losses(found.logits, found.codes, boxes, objects, overlap).items():
        assert losses[name].item() == pytest.approx(wanted, rel=1e-4), name


def test_codes_are_inverse_but_for_the_direction() -> None:
    boxes, objects = random_boxes(50), random_boxes(50, seed=1)
    code = local_code(objects, boxes)
    assert code[:, 6].abs().max() <= math.pi / 2
    back = apply_code(code, boxes)
    torch.testing.assert_close(back[:, :6], objects[:, :6], rtol=1e-4, atol=1e-4)
    turn = wrap_angle(back[:, 6] - objects[:, 6]).abs()
    assert torch.minimum(turn, (turn - math.pi).abs()).max() < 1e-4
    torch.testing.assert_close(apply_code(torch.zeros(50, 7), boxes), boxes)
    assert (corner_distance(boxes, objects) > 0).all()
    reversed_boxes = torch.cat((boxes[:, :6], boxes[:, 6:] + math.pi), dim=1)
    for same in (boxes, reversed_boxes):
        torch.testing.assert_close(corner_distance(boxes, same), torch.zeros(50), atol=1e-8, rtol=0)


def test_a_turned_scene_has_turned_boxes() -> None:
    torch.manual_seed(0)
    points, offsets, boxes, box_offsets = scene()
    model = GraphRefiner(5, sampler={"num_points": 12}, **NETWORK).eval()
    torch.nn.init.normal_(model.box.weight)
    turned = []
    for angle in (0.0, 0.7):

        def turn(rows: Tensor, angle: float = angle) -> Tensor:
            return torch.cat((rotate_bev(rows[:, :2], torch.full((len(rows),), angle)), rows[:, 2:]), dim=1)

        proposals = turn(boxes) + torch.tensor([0.0] * 6 + [angle])
        with torch.no_grad():
            found = model(turn(points), offsets, proposals, box_offsets)
        turned.append((found.logits, apply_code(found.codes, proposals)))
    torch.testing.assert_close(turned[0][0], turned[1][0], rtol=1e-3, atol=1e-3)
    wanted = torch.cat((rotate_bev(turned[0][1][:, :2], torch.full((5,), 0.7)), turned[0][1][:, 2:]), dim=1)
    torch.testing.assert_close(wanted[:, :6], turned[1][1][:, :6], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(wrap_angle(wanted[:, 6] + 0.7 - turned[1][1][:, 6]), torch.zeros(5), rtol=0, atol=1e-3)


def test_score_targets_rise_with_the_overlap() -> None:
    overlap = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0])
    assert score_target(overlap).tolist() == [0, 0, 0.5, 1, 1]


def test_drawn_proposals() -> None:
    overlap = torch.cat((torch.full((100,), 0.9), torch.full((30,), 0.3), torch.full((500,), 0.05)))
    draw = ProposalSampler()
    rows = draw(overlap, torch.Generator().manual_seed(0))
    good, hard, easy = (int(((overlap[rows] - value).abs() < 0.01).sum()) for value in (0.9, 0.3, 0.05))
    assert (good, hard, easy) == (64, 30, 34)
    assert len(set(rows[:64].tolist())) == 64  # good ones at most once
    many = draw(torch.cat((overlap, torch.full((300,), 0.3))), torch.Generator().manual_seed(0))
    assert int((many >= 630).sum()) + int(((many >= 100) & (many < 130)).sum()) == int(0.8 * 64)
    few = draw(overlap[97:], torch.Generator().manual_seed(0))
    assert int((few < 3).sum()) == 3
    assert len(few) == 128
    for left, kinds in ((overlap[:5], {0.9}), (overlap[100:101], {0.3}), (overlap[130:140], {0.05})):
        drawn = draw(left)
        assert len(drawn) == 128
        assert {round(value, 2) for value in left[drawn].tolist()} == kinds
    assert len(draw(overlap[:0])) == 0
    assert torch.equal(draw(overlap, torch.Generator().manual_seed(0)), rows)


def test_proposals_meet_objects_of_their_class_alone() -> None:
    objects = torch.tensor([[0.0, 0, 0, 4, 2, 2, 0], [1.0, 0, 0, 4, 2, 2, 0], [9.0, 9, 0, 4, 2, 2, 0]])
    match = match_proposals(objects[[0, 0, 2]], torch.tensor([0, 1, 1]), objects, torch.tensor([0, 1, 0]))
    assert match.object[:2].tolist() == [0, 1]
    torch.testing.assert_close(match.overlap, torch.tensor([1.0, 3 / 5, 0.0]))


def batch() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[0.0, 0, 0, 4, 2, 1.5, 0.3], [3.0, 3, 0, 1, 1, 1.5, 1.0]])
    return {
        "points": torch.randn(1500, 4, generator=generator) * 3,
        "offsets": torch.tensor([0, 600, 1500]),
        "boxes": boxes,
        "box_labels": torch.tensor([0, 1]),
        "box_offsets": torch.tensor([0, 1, 2]),
    }


def test_a_frozen_first_stage_stays_as_it_is() -> None:
    torch.manual_seed(0)
    model = gd_mae_two_stage(**DETECTOR, **GRAPH).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, 0.1)
    losses = model(**batch(), mode="loss")
    assert set(losses) == {"loss_roi_score", "loss_roi_box", "loss_roi_corner"}
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in trained)
    optimizer.step()
    after = model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(name.startswith("refiner.") for name in changed)
    assert model.refiner.training
    joint = gd_mae_two_stage(**DETECTOR, **GRAPH, freeze_first=False).train()
    sum((losses := joint(**batch(), mode="loss")).values()).backward()
    assert {"loss_heatmap", "loss_box"} < set(losses)
    assert all(parameter.grad is not None for parameter in joint.parameters())


def test_an_untaught_second_stage_keeps_boxes_and_halves_doubt() -> None:
    torch.manual_seed(0)
    model = gd_mae_two_stage(**DETECTOR, **GRAPH).eval()
    with torch.no_grad():
        for layer in (model.refiner.box, model.refiner.score):
            layer.weight.zero_()
    head = {**DETECTOR["head"], "suppression": vars(model.head.suppression)}
    first = gd_mae_centerpoint(**{**DETECTOR, "head": head}).eval()
    first.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("refiner.")})
    inputs = {name: batch()[name] for name in ("points", "offsets")}
    found, proposed = (one(**inputs, index=torch.tensor([5, 6]), mode="predict") for one in (model, first))
    for own, wanted in zip(found, proposed):
        torch.testing.assert_close(own["boxes"], wanted["boxes"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(own["scores"], (0.5 * wanted["scores"]).sqrt())
        assert torch.equal(own["labels"], wanted["labels"])
        assert own["index"] == wanted["index"]
    torch.testing.assert_close(model(**inputs), first(**inputs))


def test_nothing_proposed_is_no_error() -> None:
    model = gd_mae_two_stage(**{**DETECTOR, "head": {"shared_channels": 8, "score_threshold": 1.0}}, **GRAPH).train()
    losses = model(**batch(), mode="loss")
    assert all(value.item() == 0 for value in losses.values())
    sum(losses.values()).backward()
    found = model.eval()(**{name: batch()[name] for name in ("points", "offsets")}, mode="predict")
    assert [tuple(own["boxes"].shape) for own in found] == [(0, 7), (0, 7)]
    nothing = {**batch(), "boxes": torch.zeros(0, 7), "box_labels": torch.zeros(0, dtype=torch.int64)}
    nothing["box_offsets"] = torch.zeros(3, dtype=torch.int64)
    losses = gd_mae_two_stage(**DETECTOR, **GRAPH)(**nothing, mode="loss")
    assert losses["loss_roi_score"] > 0
    assert losses["loss_roi_box"] == losses["loss_roi_corner"] == 0
    with pytest.raises(ConfigError, match="needs boxes"):
        model(batch()["points"], "loss", offsets=batch()["offsets"])


def test_displaced_boxes_are_corrected() -> None:
    """Points on the faces of boxes; proposals beside them: the second stage learns where the boxes are."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    size = {"edge_channels": (8, 8, 16), "gate_channels": 8, "hidden_channels": 32, "embed_dim": 32}
    model = GraphRefiner(3, sampler={"num_points": 16, "cell": 0.3}, neighbours=4, **size, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 150)

    def draw(count: int = 24) -> tuple[Tensor, ...]:
        objects = random_boxes(count, seed=int(torch.randint(1 << 30, (), generator=generator)))
        objects[:, :2] = 12 * torch.cartesian_prod(torch.arange(count / 4), torch.arange(4.0))  # apart from each other
        unit = torch.rand(count, 40, 3, generator=generator) - 0.5
        face = torch.randint(0, 3, (count, 40, 1), generator=generator)
        unit.scatter_(2, face, torch.where(unit.gather(2, face) > 0, 0.5, -0.5))
        local = unit * objects[:, None, 3:6]
        points = torch.cat((rotate_bev(local[..., :2], objects[:, 6]), local[..., 2:]), dim=2) + objects[:, None, :3]
        boxes = objects + torch.randn(count, 7, generator=generator) * torch.tensor([0.3, 0.3, *[0.0] * 5])
        return points.flatten(0, 1), objects, boxes

    def look(points: Tensor, boxes: Tensor) -> Refinement:
        return model(points, torch.tensor([0, len(points)]), boxes, torch.tensor([0, len(boxes)]))

    for _ in range(150):
        points, objects, boxes = draw()
        losses = model.loss(look(points, boxes), boxes, objects, torch.ones(len(boxes)))
        optimizer.zero_grad()
        (losses["loss_roi_box"] + losses["loss_roi_corner"]).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    points, objects, boxes = draw(40)
    with torch.no_grad():
        corrected = apply_code(look(points, boxes).codes, boxes)
    before, after = ((rows[:, :2] - objects[:, :2]).norm(dim=1).mean() for rows in (boxes, corrected))
    assert after < 0.6 * before


def test_what_does_not_fit_is_named() -> None:
    with pytest.raises(ConfigError, match=r"points have 3 columns, in_channels is 5"):
        GraphRefiner(5)(torch.zeros(2, 3), torch.tensor([0, 2]), torch.zeros(1, 7), torch.tensor([0, 1]))
    with pytest.raises(ConfigError, match=r"8 neighbours need as many points of a box, sampler.num_points is 4"):
        GraphRefiner(sampler={"num_points": 4})
    with pytest.raises(ConfigError, match="must be above 0"):
        RoiPointSampler(cell=0.0)
    with pytest.raises(ConfigError, match="margin three"):
        RoiPointSampler(margin=(1.0,))
    for wrong in ({"count": 1}, {"hard": 1.5}, {"easy": 0.7}):
        with pytest.raises(ConfigError, match="ProposalSampler: count must be"):
            ProposalSampler(**wrong)


def test_published_size() -> None:
    with torch.device("meta"):
        model = gd_mae_two_stage()
        first = gd_mae_centerpoint()
    assert isinstance(model, TwoStageDetector)
    official = [v for name, v in oracle.official_state().items() if name.endswith((".weight", ".bias"))]
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count == sum(p.numel() for p in first.parameters()) + sum(v.numel() for v in official)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == sum(v.numel() for v in official)
