"""ONCE average precision: its sampler and its matching re-stated as loops, heading, distances, superclass."""

import json

import numpy as np
import pytest
import torch

from mae3d.datasets.array_pickle import load_array_pickle
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.once_reader import CLASSES
from mae3d.errors import ConfigError
from mae3d.evaluation.once_detection import (
    MIN_OVERLAP,
    OnceBoxes,
    OnceDetectionMetric,
    OnceMetric,
    oriented_overlap,
    score_thresholds,
)


def squares(count, distance=10.0):
    """Objects with a square footprint on a circle around the sensor."""
    angle = np.arange(count) * 2 * np.pi / max(count, 4)
    boxes = np.zeros((count, 7))
    boxes[:, 0], boxes[:, 1] = distance * np.cos(angle), distance * np.sin(angle)
    boxes[:, 3:6] = 2.0
    return boxes


def score(found, truth, names="Car", found_names="Car", scores=None):
    metric = OnceDetectionMetric()
    scores = np.linspace(0.1, 0.9, len(found)) if scores is None else scores
    metric.process(
        OnceBoxes(found, np.array([found_names] * len(found)), scores), OnceBoxes(truth, np.array([names] * len(truth)))
    )
    return metric.compute()


@pytest.mark.parametrize("count", [1, 3, 70])
def test_a_perfect_detector_has_100(count):
    boxes = squares(count, 40.0)
    result = score(boxes, boxes)
    assert result["Vehicle_overall"] == pytest.approx(100)
    assert result["Vehicle_30-50m"] == pytest.approx(100)
    assert result["Vehicle_0-30m"] == 0
    assert result["mAP_overall"] == pytest.approx(100 / 3)


@pytest.mark.parametrize(("degrees", "expected"), [(89, 100), (91, 0), (-89, 100), (180, 0)])
def test_heading_beyond_a_right_angle_is_a_miss(degrees, expected):
    truth = squares(4)
    found = truth.copy()
    found[:, 6] += np.radians(degrees)
    assert score(found, truth)["Vehicle_overall"] == pytest.approx(expected)


def test_vehicles_are_one_class():
    boxes = squares(5)
    assert score(boxes, boxes, "Bus", "Truck")["Vehicle_overall"] == pytest.approx(100)
    assert score(boxes, boxes, "Bus", "Cyclist")["Vehicle_overall"] == 0


def test_what_lies_outside_a_band_is_ignored():
    near, far = squares(4, 10.0), squares(4, 60.0)
    found = np.concatenate((near, far + np.array([0, 0, 5, 0, 0, 0, 0])))  # far detections are wrong
    result = score(found, np.concatenate((near, far)))
    assert result["Vehicle_0-30m"] == pytest.approx(100)
    assert result["Vehicle_50m-inf"] == 0
    assert result["Vehicle_overall"] < 60


def published_thresholds(scores, objects, points=50):
    """get_thresholds of the development kit."""
    scores = sorted(scores, reverse=True)
    level, chosen = 0.0, []
    for i, value in enumerate(scores):
        left = (i + 1) / objects
        right = (i + 2) / objects if i < len(scores) - 1 else left
        if right + left < 2 * level and i < len(scores) - 1:
            continue
        chosen.append(value)
        level += 1 / points
        while right + left + 1e-6 > 2 * level:
            chosen.append(value)
            level += 1 / points
    return chosen


@pytest.mark.parametrize(("found", "objects"), [(1, 1), (7, 9), (30, 64), (120, 130), (3, 200)])
def test_thresholds_equal_the_published_loop(found, objects):
    scores = np.random.default_rng(found).random(found)
    expected = published_thresholds(scores.tolist(), objects)[:51]
    assert score_thresholds(scores, objects) == expected


def test_average_precision_equals_a_loop():
    rng = np.random.default_rng(0)
    truth = squares(12, 20.0)
    pick = rng.integers(0, 12, 30)
    found = truth[pick] + rng.normal(0, 0.12, (30, 7)) * [1, 1, 1, 0, 0, 0, 1]
    scores = rng.random(30)
    overlap = oriented_overlap(found, truth)
    limit = MIN_OVERLAP["Vehicle"]

    def match(threshold, by_score):
        free = [s >= threshold for s in scores]
        kept = []
        for g in range(12):
            able = [j for j in range(30) if free[j] and overlap[j, g] > limit]
            if able:
                best = max(able, key=lambda j: scores[j] if by_score else overlap[j, g])
                free[best] = False
                kept.append(scores[best])
        return kept, sum(free)

    precision = np.zeros(51)
    for slot, threshold in enumerate(published_thresholds(match(0, True)[0], 12)[:51]):
        kept, false = match(threshold, False)
        precision[slot] = len(kept) / (len(kept) + false)
    expected = np.maximum.accumulate(precision[::-1])[::-1][1:].sum() / 50 * 100
    result = score(found, truth, scores=scores)["Vehicle_overall"]
    assert result == pytest.approx(expected)
    assert 10 < result < 95
    assert score(found, truth, scores=scores**2)["Vehicle_overall"] == result


def test_frames_of_an_index_and_the_submission(tmp_path):
    boxes = squares(3, 25.0)
    labels = np.array([0, 3, 4])
    wide = np.column_stack((boxes, np.full((3, 2), np.nan)))
    known = {"boxes": wide, "labels": labels, "num_points": np.full(3, -1), "tracks": ["0", "1", "2"]}
    common = {"sequence": "s", "time": 0.0, "world_from_sensor": np.eye(4)}
    frames = [Frame(token="a", file="a", **common, **known), Frame(token="b", file="b", **common)]
    index = FrameIndex.from_frames("once", CLASSES, frames)
    metric = OnceMetric(index, submission=tmp_path / "out" / "once.json")
    found = {"boxes": torch.from_numpy(boxes), "scores": torch.ones(3), "labels": torch.from_numpy(labels)}
    metric.process([{**found, "index": 0}, {**found, "index": 1}])  # frame b has no labels: nothing in it is wrong
    result = metric.compute()
    assert result["mAP_overall"] == pytest.approx(100)
    records = json.loads((tmp_path / "out" / "once.json").read_text())
    assert [record["frame_id"] for record in records] == ["a", "b"]
    assert records[0]["name"] == ["Car", "Pedestrian", "Cyclist"]
    assert records[0]["score"] == [1.0, 1.0, 1.0]
    stored = np.array(records[1]["boxes_3d"])
    np.testing.assert_allclose(stored[:, 0], boxes[:, 1])  # the files' x looks left
    np.testing.assert_allclose(stored[:, 1], -boxes[:, 0])
    np.testing.assert_allclose(np.cos(stored[:, 6] + np.pi / 2 - boxes[:, 6]), 1)

    other = OnceMetric(index, submission=tmp_path / "once.pkl")
    other.process([{**found, "index": 0}])
    other.compute()
    kept = load_array_pickle(tmp_path / "once.pkl")
    assert kept[0]["name"].tolist() == ["Car", "Pedestrian", "Cyclist"]
    assert kept[1]["boxes_3d"].shape == (0, 7)
    with pytest.raises(ConfigError, match=r"once\.txt: a submission to ONCE is a \.json or \.pkl"):
        OnceMetric(index, submission=tmp_path / "once.txt").compute()
