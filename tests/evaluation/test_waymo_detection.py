"""Waymo AP and APH: known areas, matching against brute force, headings, levels, distances."""

import itertools

import numpy as np
import pytest
import torch

from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.errors import DataError
from mae3d.evaluation.waymo_detection import (
    CLASSES,
    CUTOFFS,
    WaymoBoxes,
    WaymoDetectionMetric,
    average_precision,
    match_at_cutoffs,
)
from mae3d.evaluation.waymo_frames import WaymoMetric


def cars(count, distance=10.0):
    boxes = np.zeros((count, 7))
    boxes[:, 0], boxes[:, 1], boxes[:, 3:6] = distance, np.arange(count) * 4.0, (4, 2, 1.5)
    return boxes


def truth_of(boxes, points=50, level=0, label=0):
    fill = lambda value: np.full(len(boxes), value)  # noqa: E731
    return WaymoBoxes(boxes, fill(label), num_points=np.broadcast_to(points, len(boxes)), level=fill(level))


def score(found, truth, scores=None):
    metric = WaymoDetectionMetric()
    scores = np.ones(len(found)) if scores is None else scores
    metric.process(WaymoBoxes(found, np.zeros(len(found), dtype=np.int64), scores=scores), truth)
    return metric.compute()


@pytest.mark.parametrize(
    ("precision", "recall", "expected"),
    [
        ([], [], 0.0),
        ([0.1], [0.2], 0.02),
        ([0.1, 0.05], [0.2, 1.0], 0.05 * 0.8 + 0.1 * 0.2 + 0.05 * 0.5 * 0.05),
        ([0.1, 0.0, 0.05], [0.2, 0.4, 1.0], 0.05 * 0.8 + 0.1 * 0.2 + 0.05 * 0.5 * 0.05),
        ([1.0, 0.5], [0.5, 0.52], 0.5 + 0.02 * 0.75),
    ],
)
def test_area_of_known_curves(precision, recall, expected):
    assert average_precision(np.array(precision), np.array(recall)) == pytest.approx(expected, abs=1e-9)


def test_perfect_detections_and_opposite_headings():
    boxes = cars(4)
    perfect = score(boxes, truth_of(boxes))
    assert perfect["Vehicle_AP_L1"] == perfect["Vehicle_APH_L2"] == pytest.approx(100)
    assert perfect["Vehicle_AP_L1_0-30m"] == pytest.approx(100)
    assert perfect["Vehicle_AP_L1_30-50m"] == 0
    opposite = boxes + np.array([0, 0, 0, 0, 0, 0, np.pi])
    turned = score(opposite, truth_of(boxes))
    assert turned["Vehicle_AP_L1"] == pytest.approx(100)
    assert turned["Vehicle_APH_L1"] == pytest.approx(0, abs=1e-6)


def test_levels():
    boxes = cars(4)
    few = truth_of(boxes, points=np.array([50, 50, 50, 5]))
    result = score(boxes[:3], few)
    assert result["Vehicle_AP_L1"] == pytest.approx(100)  # the one with five points is of level 2
    assert result["Vehicle_AP_L2"] == pytest.approx(75)
    assert score(boxes[:3], truth_of(boxes, level=2))["Vehicle_AP_L1"] == pytest.approx(100)
    without = score(boxes[:3], truth_of(boxes, points=np.array([50, 50, 50, 0])))
    assert without["Vehicle_AP_L2"] == pytest.approx(100)


def test_scores_matter_by_value():
    boxes = cars(4)
    found = np.concatenate((boxes, boxes + np.array([0, 0, 9, 0, 0, 0, 0])))
    scores = np.repeat([0.9, 0.8], 4)
    assert score(found, truth_of(boxes), scores)["Vehicle_AP_L2"] == pytest.approx(100)
    squeezed = score(found, truth_of(boxes), scores * 0.01)["Vehicle_AP_L2"]  # no cut-off lies between them any more
    assert squeezed == pytest.approx(50)
    with pytest.raises(DataError, match=r"\[0, 1\]"):
        score(found, truth_of(boxes), scores * 2)


def brute_force(weight):
    best, total = None, -1
    found, objects = weight.shape
    for choice in itertools.product(range(-1, found), repeat=objects):
        used = [d for d in choice if d >= 0]
        if len(used) != len(set(used)) or any(d >= 0 and weight[d, g] == 0 for g, d in enumerate(choice)):
            continue
        value = sum(weight[d, g] for g, d in enumerate(choice) if d >= 0)
        if value > total:
            best, total = choice, value
    return best, total


@pytest.mark.parametrize("seed", range(6))
def test_matching_has_the_most_overlap(seed):
    rng = np.random.default_rng(seed)
    overlap = rng.random((4, 3)) * (rng.random((4, 3)) < (0.35 if seed % 2 else 0.9))
    scores = rng.random(4)
    match = match_at_cutoffs(overlap, scores, 0.3)
    weight = np.where(overlap >= 0.3, np.floor(overlap * 1000), 0)
    for place in (0, 20, 50, 80):
        able = weight * (scores >= CUTOFFS[place])[:, None]
        total = sum(able[d, g] for g, d in enumerate(match[place]) if d >= 0)
        assert total == brute_force(able)[1]
        used = match[place][match[place] >= 0]
        assert len(set(used)) == len(used)


def test_frames_of_an_index(tmp_path):
    boxes = cars(3)
    frame = Frame(
        token="a",
        sequence="s",
        file="f",
        time=0.0,
        world_from_sensor=np.eye(4),
        boxes=np.column_stack((boxes, np.zeros((3, 2)))),
        labels=np.array([0, 1, 2]),
        num_points=np.full(3, 50),
        tracks=["0", "1", "2"],
        box_extra={"difficulty": np.zeros(3, dtype=np.int64)},
        extra={"context_name": "c", "timestamp_micros": 1},
    )
    metric = WaymoMetric(FrameIndex.from_frames("waymo", CLASSES, [frame]), submission=tmp_path / "out" / "waymo.bin")
    metric.process([{"boxes": torch.from_numpy(boxes), "scores": torch.ones(3), "labels": torch.arange(3), "index": 0}])
    result = metric.compute()
    assert result["mAPH_L2"] == pytest.approx(100)
    pytest.importorskip("google.protobuf")
    from tests.oracles.waymo_files import PROTO

    objects = PROTO["Objects"].FromString((tmp_path / "out" / "waymo.bin").read_bytes()).objects
    assert [entry.object.type for entry in objects] == [1, 2, 4]
    for entry, row in zip(objects, boxes):
        box = entry.object.box
        found = [box.center_x, box.center_y, box.center_z, box.length, box.width, box.height, box.heading]
        np.testing.assert_allclose(found, row[:7])
        assert (entry.score, entry.context_name, entry.frame_timestamp_micros) == (1.0, "c", 1)


def test_a_split_without_annotations_gives_a_submission_alone(tmp_path):
    extra = {"context_name": "c", "timestamp_micros": 1}
    index = FrameIndex.from_frames("waymo", CLASSES, [Frame("a", "s", "f", 0.0, np.eye(4), extra=extra)])
    found = {"boxes": torch.from_numpy(cars(2)), "scores": torch.ones(2), "labels": torch.zeros(2), "index": 0}
    metric = WaymoMetric(index, submission=tmp_path / "waymo.bin")
    metric.process([found])
    assert metric.compute() == {}
    assert (tmp_path / "waymo.bin").stat().st_size > 100
    metric = WaymoMetric(index)
    metric.process([found])
    with pytest.raises(DataError, match="no annotations to compare with"):
        metric.compute()
