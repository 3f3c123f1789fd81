import math

import numpy as np
import pytest
import torch

from mae3d.datasets.lidar import collate_packed
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms.lidar import (
    BoxFilter,
    FlipScene,
    RangeFilter,
    RotateScene,
    ScaleFeatures,
    ScaleScene,
    ShufflePoints,
    TranslateScene,
)
from mae3d.errors import ConfigError, DataError
from mae3d.ops import points_in_boxes
from mae3d.structures.boxes import flip_boxes

MOVES = [
    FlipScene(probability=1.0),
    FlipScene(("y",)),
    RotateScene(-math.pi, math.pi),
    ScaleScene(0.8, 1.2),
    TranslateScene((3.0, 2.0, 0.5)),
]


def make(seed, points=400, boxes=5):
    rng = np.random.default_rng(seed)
    table = np.column_stack(
        (
            rng.uniform(-20, 20, (boxes, 2)),
            rng.uniform(-1, 1, boxes),
            rng.uniform(1, 6, (boxes, 3)),
            rng.uniform(-3, 3, boxes),
            rng.normal(0, 5, (boxes, 2)),
        )
    )
    near = table[rng.integers(0, boxes, points), :3] + rng.normal(0, 2, (points, 3))
    cloud = np.column_stack((near, rng.random((points, 2))))
    return {
        "points": torch.from_numpy(cloud.astype(np.float32)),
        "boxes": torch.from_numpy(table.astype(np.float32)),
        "box_labels": torch.tensor([0, 1, -1, 0, 1])[:boxes],
        "box_points": torch.tensor([0, 3, 10, -1, 20])[:boxes],
        "world_from_sensor": torch.eye(4, dtype=torch.float64),
        "index": seed,
    }


def owners(sample):
    boxes = sample["boxes"][None, :, :7].double()
    return points_in_boxes(sample["points"][None, :, :3].double(), boxes).index[0]


def split(batch):
    for number in range(len(batch["offsets"]) - 1):
        points, boxes = (slice(*batch[name][number : number + 2].tolist()) for name in ("offsets", "box_offsets"))
        yield {name: batch[name][boxes] for name in ("boxes", "box_labels", "box_points")} | {
            "points": batch["points"][points]
        }


@pytest.mark.parametrize("move", MOVES, ids=lambda m: type(m).__name__)
def test_points_stay_in_their_boxes(move):
    sample = make(0)
    before = owners(sample)
    moved = move(sample, np.random.default_rng(3))
    assert (owners(moved) == before).float().mean() > 0.99  # rounding at faces
    assert (before >= 0).sum() > 50
    torch.testing.assert_close(moved["points"][:, 3:], sample["points"][:, 3:])
    assert not torch.equal(moved["points"], sample["points"]) or isinstance(move, FlipScene)
    torch.testing.assert_close(sample["points"], make(0)["points"])  # what was given is untouched
    torch.testing.assert_close(sample["boxes"], make(0)["boxes"])


@pytest.mark.parametrize("move", MOVES, ids=lambda m: type(m).__name__)
def test_velocities_are_those_of_moving_centres(move):
    sample = make(1)
    later = {**sample, "boxes": sample["boxes"].clone()}
    later["boxes"][:, :2] += sample["boxes"][:, 7:9]
    now, then = (move(s, np.random.default_rng(5))["boxes"] for s in (sample, later))
    torch.testing.assert_close(then[:, :2] - now[:, :2], now[:, 7:9], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("move", MOVES, ids=lambda m: type(m).__name__)
def test_equal_seeds_give_equal_scenes(move):
    first, again, other = (move(make(0), np.random.default_rng(seed))["points"] for seed in (1, 1, 8))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    if not isinstance(move, FlipScene):
        assert not torch.equal(first, other)


@pytest.mark.parametrize("move", MOVES, ids=lambda m: type(m).__name__)
def test_every_sample_of_a_batch_gets_its_own_draw(move):
    samples = [make(0), make(1, 0, 2), make(2, 100, 1), make(0)]
    batch = move(collate_packed(samples), torch.Generator().manual_seed(4))
    parts = list(split(batch))
    for sample, part in zip(samples, parts):
        assert part["points"].shape == sample["points"].shape
        assert part["boxes"].shape == sample["boxes"].shape
        if len(sample["points"]) and len(sample["boxes"]):
            assert (owners(part) == owners(sample)).float().mean() > 0.99
    if not isinstance(move, FlipScene):
        assert not torch.equal(parts[0]["points"], parts[3]["points"])


def test_the_same_parameters_do_the_same_to_samples_and_batches():
    for move in (FlipScene(("x",), 1.0), RotateScene(0.3, 0.3), ScaleScene(1.1, 1.1)):
        samples = [make(0), make(1)]
        alone = collate_packed([move(s, np.random.default_rng(0)) for s in samples])
        together = move(collate_packed(samples), torch.Generator())
        torch.testing.assert_close(alone["points"], together["points"])
        torch.testing.assert_close(alone["boxes"], together["boxes"])


def test_closed_forms():
    sample = make(0)
    flipped = FlipScene(("y",), 1.0)(sample, np.random.default_rng(0))
    torch.testing.assert_close(flipped["boxes"], flip_boxes(sample["boxes"], "y"))
    torch.testing.assert_close(flipped["points"][:, :3], sample["points"][:, :3] * torch.tensor([1.0, -1, 1]))
    quarter = RotateScene(math.pi / 2, math.pi / 2)(sample, np.random.default_rng(0))
    torch.testing.assert_close(quarter["points"][:, 0], -sample["points"][:, 1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(quarter["boxes"][:, 8], sample["boxes"][:, 7], atol=1e-5, rtol=1e-5)
    unknown = {**sample, "boxes": sample["boxes"].clone()}
    unknown["boxes"][:, 7:] = math.nan
    for move in MOVES:
        moved = move(unknown, np.random.default_rng(0))["boxes"]
        assert torch.isfinite(moved[:, :7]).all()
        assert torch.isnan(moved[:, 7:]).all()


def test_probabilities():
    sample = make(0, 10)
    rng = np.random.default_rng(0)
    flips = [bool((FlipScene(("x",), 0.3)(sample, rng)["points"] != sample["points"]).any()) for _ in range(600)]
    assert np.mean(flips) == pytest.approx(0.3, abs=0.07)
    turns = [bool((RotateScene(probability=0.7)(sample, rng)["points"] != sample["points"]).any()) for _ in range(600)]
    assert np.mean(turns) == pytest.approx(0.7, abs=0.07)


def test_range_filter():
    batch = collate_packed([make(0), make(1), make(2)])
    limits = (-8, -8, -1, 8, 8, 2)
    filtered = RangeFilter(limits)(batch)
    for sample, part in zip([make(0), make(1), make(2)], split(filtered)):
        alone = RangeFilter(limits)(sample)
        torch.testing.assert_close(part["points"], alone["points"])
        torch.testing.assert_close(part["box_labels"], alone["box_labels"])
        xyz = sample["points"][:, :3].numpy()
        wanted = ((xyz >= limits[:3]) & (xyz < limits[3:])).all(axis=1)
        np.testing.assert_array_equal(alone["points"].numpy(), sample["points"].numpy()[wanted])
        centres = sample["boxes"][:, :2].abs().amax(dim=1) < 8
        assert len(alone["boxes"]) == centres.sum()
    assert len(RangeFilter(limits, boxes=False)(make(0))["boxes"]) == 5


def test_box_filter():
    assert BoxFilter(5)(make(0))["box_points"].tolist() == [-1, 20]
    assert BoxFilter(5, scored=False)(make(0))["box_points"].tolist() == [10, -1, 20]
    batch = BoxFilter(1)(collate_packed([make(0), make(0)]))
    assert batch["box_offsets"].tolist() == [0, 3, 6]


def test_features_are_scaled_in_both_frames():
    sample, earlier = make(0), make(1)["points"]
    before = sample["points"].clone()
    scaled = ScaleFeatures((255.0,))({**sample, "previous_points": earlier})
    for given, got in ((before, scaled["points"]), (earlier, scaled["previous_points"])):
        assert torch.equal(got[:, 3], given[:, 3] * 255)
        assert torch.equal(got[:, [0, 1, 2, 4]], given[:, [0, 1, 2, 4]])
    assert torch.equal(sample["points"], before)
    with pytest.raises(DataError, match="points has 5 columns, 3 factors need 6; give fewer factors"):
        ScaleFeatures((1.0, 2.0, 3.0))(sample)


def test_shuffling_keeps_points_in_their_sample():
    batch = collate_packed([make(0), make(1, 50)])
    shuffled = ShufflePoints()(batch, torch.Generator().manual_seed(0))
    for before, after in zip(split(batch), split(shuffled)):
        assert not torch.equal(before["points"], after["points"])
        order = lambda points: points[points[:, 3].argsort()]  # noqa: E731
        torch.testing.assert_close(order(before["points"]), order(after["points"]))
    alone = ShufflePoints()(make(0), np.random.default_rng(0))["points"]
    assert not torch.equal(alone, make(0)["points"])


def test_the_preprocessor_applies_them_to_batches():
    names = [{"type": "FlipScene"}, {"type": "RotateScene"}, {"type": "ScaleScene"}, {"type": "RangeFilter"}]
    names[-1]["point_range"] = (-30, -30, -5, 30, 30, 5)
    step = BatchPreprocessor(names, seed=3)
    batch = step(collate_packed([make(0), make(1)]), training=True)
    assert batch["offsets"][-1] == len(batch["points"])
    untouched = step(collate_packed([make(0), make(1)]), training=False)
    torch.testing.assert_close(untouched["points"][:400], make(0)["points"])


@pytest.mark.parametrize(
    "build",
    [
        lambda: FlipScene(("z",)),
        lambda: FlipScene(probability=1.5),
        lambda: RotateScene(1, 0),
        lambda: ScaleFeatures(()),
        lambda: ScaleScene(0, 1),
        lambda: TranslateScene((1, 2)),
        lambda: RangeFilter((0, 0, 0, 1, 1, 0)),
    ],
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(ConfigError):
        build()
