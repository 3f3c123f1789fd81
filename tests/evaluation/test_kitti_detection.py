"""KITTI average precision against a plain re-statement of the published loops, and its known oddities."""

import numpy as np
import pytest
import torch

from mae3d.datasets.lidar.kitti_reader import read_kitti
from mae3d.datasets.simulators.driving import kitti_layout
from mae3d.evaluation.kitti_detection import (
    DIFFICULTIES,
    MIN_OVERLAP,
    SIMILAR,
    KittiBoxes,
    KittiDetectionMetric,
    score_thresholds,
)
from mae3d.evaluation.kitti_frames import KittiMetric
from mae3d.ops import box_iou_3d


def truth_of(boxes, names=None, height=60.0, occlusion=0, truncation=0.0):
    n = len(boxes)
    fill = lambda value, kind: np.broadcast_to(np.asarray(value, dtype=kind), (n,)).copy()  # noqa: E731
    names = np.array(["Car"] * n if names is None else names)
    return KittiBoxes(
        boxes, names, fill(height, float), occlusion=fill(occlusion, np.int64), truncation=fill(truncation, float)
    )


def found_of(truth, scores=None):
    scores = np.ones(len(truth.boxes)) if scores is None else scores
    return KittiBoxes(truth.boxes, truth.names, truth.height, scores=scores)


def row_of_cars(count):
    boxes = np.zeros((count, 7))
    boxes[:, 0], boxes[:, 3:6] = np.arange(count) * 10, (4, 2, 1.5)
    return boxes


@pytest.mark.parametrize(
    ("count", "r40", "r11"),
    [(1, 0.0, 100 / 11), (10, 22.5, 300 / 11), (20, 47.5, 500 / 11), (40, 97.5, 1000 / 11), (41, 100, 100)],
)
def test_a_perfect_detector_of_few_objects(count, r40, r11):
    metric = KittiDetectionMetric()
    truth = truth_of(row_of_cars(count))
    metric.process(found_of(truth, np.linspace(0.1, 0.9, count)), truth)
    result = metric.compute()
    for difficulty in DIFFICULTIES:
        assert result[f"Car_3d_{difficulty}_R40"] == pytest.approx(r40)
        assert result[f"Car_bev_{difficulty}_R11"] == pytest.approx(r11)
    assert result["Pedestrian_3d_easy_R40"] == 0


def published(frames, name, difficulty, min_overlap):
    """compute_statistics_jit and its callers, statement by statement."""
    least, occluded, truncated = DIFFICULTIES[difficulty]
    cleaned, total = [], 0
    for found, truth in frames:
        gt_flag, dt_flag = [], []
        for n, h, o, t in zip(truth.names, truth.height, truth.occlusion, truth.truncation):
            valid = 1 if n == name else 0 if n == SIMILAR.get(name) else -1
            ignore = o > occluded or t > truncated or h <= least
            if valid == 1 and not ignore:
                gt_flag.append(0)
                total += 1
            else:
                gt_flag.append(1 if valid == 0 or (ignore and valid == 1) else -1)
        for n, h in zip(found.names, found.height):
            dt_flag.append(1 if h < least else 0 if n == name else -1)
        a, b = (torch.from_numpy(v.boxes) for v in (found, truth))
        cleaned.append((box_iou_3d(a, b).numpy(), found.scores, gt_flag, dt_flag))

    def statistics(overlaps, scores, gt_flag, dt_flag, threshold, compute_fp):
        assigned = [False] * len(scores)
        under = [compute_fp and s < threshold for s in scores]
        tp, kept = 0, []
        for i, flag in enumerate(gt_flag):
            if flag == -1:
                continue
            det, valid, most, weak = -1, None, 0, False
            for j in range(len(scores)):
                if dt_flag[j] == -1 or assigned[j] or under[j] or not overlaps[j, i] > min_overlap:
                    continue
                if not compute_fp:
                    if valid is None or scores[j] > valid:
                        det, valid = j, scores[j]
                elif (overlaps[j, i] > most or weak) and dt_flag[j] == 0:
                    det, valid, most, weak = j, 1, overlaps[j, i], False
                elif valid is None and dt_flag[j] == 1:
                    det, valid, weak = j, 1, True
            if valid is None:
                continue
            assigned[det] = True
            if flag == 0 and dt_flag[det] == 0:
                tp += 1
                kept.append(scores[det])
        fp = sum(not (assigned[j] or dt_flag[j] != 0 or under[j]) for j in range(len(scores)))
        return tp, fp, kept

    scores = [s for frame in cleaned for s in statistics(*frame, 0, False)[2]]
    precision = np.zeros(41)
    for slot, threshold in enumerate(score_thresholds(np.array(scores), max(total, 1))):
        counts = [statistics(*frame, threshold, True)[:2] for frame in cleaned]
        tp, fp = sum(c[0] for c in counts), sum(c[1] for c in counts)
        precision[slot] = tp / (tp + fp) if tp + fp else 0
    for slot in range(41):
        precision[slot] = precision[slot:].max()
    return precision[1:].sum() / 40 * 100


def random_frames(seed, count=6):
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        boxes = row_of_cars(14) * [0.3, 1, 1, 1, 1, 1, 1] + rng.normal(0, 0.2, (14, 7)) * [1, 1, 1, 1, 0, 0, 0.3]
        names = rng.choice(["Car", "Van", "Pedestrian", "DontCare"], 14, p=[0.6, 0.15, 0.2, 0.05])
        truth = truth_of(boxes, names, rng.uniform(20, 60, 14), rng.integers(0, 3, 14), rng.uniform(0, 0.4, 14))
        pick = rng.integers(0, 14, 25)
        noise = rng.normal(0, 0.1, (25, 7)) * [1, 1, 1, 1, 1, 1, 0.3]
        wrong = np.where(rng.random(25) < 0.1, "Pedestrian", "Car")
        scores = np.round(rng.random(25), 1)
        frames.append((KittiBoxes(boxes[pick] + noise, wrong, rng.uniform(20, 60, 25), scores=scores), truth))
    return frames


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_published_loops(seed):
    frames = random_frames(seed)
    metric = KittiDetectionMetric()
    for frame in frames:
        metric.process(*frame)
    result = metric.compute()
    values = []
    for difficulty in DIFFICULTIES:
        for name in ("Car", "Pedestrian"):
            expected = published(frames, name, difficulty, MIN_OVERLAP[name])
            values.append(expected)
            assert result[f"{name}_3d_{difficulty}_R40"] == pytest.approx(expected, abs=1e-9)
    assert max(values) > 20


def test_scores_matter_by_their_order_alone():
    frames = random_frames(7)
    results = []
    for rescale in (lambda s: s, lambda s: s**3 * 0.01):
        metric = KittiDetectionMetric()
        for found, truth in frames:
            metric.process(KittiBoxes(found.boxes, found.names, found.height, scores=rescale(found.scores)), truth)
        results.append(metric.compute())
    assert results[0] == results[1]


def test_frames_of_a_simulated_data_set(tmp_path):
    kitti_layout.write_kitti(kitti_layout.KittiPlan(tmp_path, 1, 2, seed=2))
    index = read_kitti(tmp_path, "val")
    metric = KittiMetric(index, submission=tmp_path / "results")
    predictions = []
    for number in range(len(index)):
        frame = index.frame(number)
        known = frame.labels >= 0
        boxes = torch.from_numpy(frame.boxes[known, :7])
        scores = torch.linspace(0.5, 0.9, len(boxes))
        predictions.append({"boxes": boxes, "scores": scores, "labels": torch.from_numpy(frame.labels[known])})
        predictions[-1]["index"] = number
    metric.process(predictions)
    result = metric.compute()
    cars = sum(int((index.frame(n).labels == 0).sum()) for n in range(len(index)))
    assert cars > 0
    assert 0 < result["Car_3d_hard_R11"] <= 100
    lines = (tmp_path / "results" / f"{index.token[0]}.txt").read_text().splitlines()
    assert len(lines) == len(predictions[0]["boxes"])
    first = lines[0].split()
    assert len(first) == 16
    frame = index.frame(0)
    row = int(np.flatnonzero(frame.labels >= 0)[0])
    inside = frame.box_extra["box_2d"][row]
    np.testing.assert_allclose([float(v) for v in first[4:8]], inside, atol=2.0)
