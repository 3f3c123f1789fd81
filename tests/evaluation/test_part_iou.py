import numpy as np
import pytest
import torch

from mae3d.datasets.objects.shapenet_synsets import PART_RANGES
from mae3d.errors import DataError
from mae3d.evaluation import PartIoU


def objects(count=40, points=64, seed=0):
    rng = np.random.default_rng(seed)
    ranges = list(PART_RANGES.values())
    samples = []
    for _ in range(count):
        category = int(rng.integers(0, 16))
        # Some parts of a category are often absent from truth and prediction.
        own = rng.permutation(list(ranges[category]))[: rng.integers(1, len(ranges[category]) + 1)]
        truth = rng.choice(own, points)
        scores = rng.normal(size=(points, 50))
        scores[np.arange(points), np.where(rng.random(points) < 0.6, truth, rng.choice(own, points))] += 3
        samples.append((category, truth, scores))
    return samples


def as_predictions(samples):
    return [
        {"label": torch.tensor(c), "part_label": torch.from_numpy(t), "scores": torch.from_numpy(s)}
        for c, t, s in samples
    ]


def by_the_published_loops(samples):
    """Point by point, part by part, as the official script counts."""
    ranges = list(PART_RANGES.values())
    shape_ious = {category: [] for category in range(16)}
    right = seen = 0
    seen_part, right_part = np.zeros(50), np.zeros(50)
    for category, truth, scores in samples:
        parts = list(ranges[category])
        guess = scores[:, parts].argmax(1) + parts[0]
        right += (guess == truth).sum()
        seen += len(truth)
        for part in range(50):
            seen_part[part] += (truth == part).sum()
            right_part[part] += ((truth == part) & (guess == part)).sum()
        ious = []
        for part in parts:
            a, b = truth == part, guess == part
            ious.append(1.0 if not a.any() and not b.any() else (a & b).sum() / (a | b).sum())
        shape_ious[category].append(np.mean(ious))
    flat = [iou for values in shape_ious.values() for iou in values]
    return {
        "instance_miou": np.mean(flat),
        "class_miou": np.mean([np.mean(values) for values in shape_ious.values() if values]),
        "accuracy": right / seen,
        "class_accuracy": np.mean(right_part[seen_part > 0] / seen_part[seen_part > 0]),
    }


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_published_loops(seed):
    samples = objects(seed=seed)
    metric = PartIoU()
    metric.process(as_predictions(samples))
    assert metric.compute() == pytest.approx(by_the_published_loops(samples))


def test_parts_are_those_of_the_data_set():
    assert PartIoU().parts == [range(r.start, r.stop) for r in PART_RANGES.values()]


def test_all_right_is_one():
    samples = objects()
    perfect = [(c, t, np.eye(50)[t]) for c, t, _ in samples]
    metric = PartIoU()
    metric.process(as_predictions(perfect))
    assert set(metric.compute().values()) == {1.0}


def test_part_absent_in_both_counts_one():
    metric = PartIoU()
    truth = torch.tensor([4, 4, 4, 4])  # a bag without handle
    wrong = torch.zeros(4, 50)
    wrong[:, 4] = 1
    metric.process([{"label": torch.tensor(1), "part_label": truth, "scores": wrong}])
    assert metric.compute()["instance_miou"] == 1.0
    other = PartIoU()
    wrong[0, 5] = 2
    other.process([{"label": torch.tensor(1), "part_label": truth, "scores": wrong}])
    assert other.compute()["instance_miou"] == pytest.approx((0.75 + 0.0) / 2)


def test_scores_of_foreign_parts_do_not_count():
    scores = torch.zeros(2, 50)
    scores[:, 49] = 9
    scores[:, 7] = 1
    metric = PartIoU()
    metric.process([{"label": torch.tensor(2), "part_label": torch.tensor([7, 7]), "scores": scores}])
    assert metric.compute()["accuracy"] == 1.0


def test_label_of_another_category_is_named():
    sample = {"label": torch.tensor(1), "part_label": torch.tensor([4, 9]), "scores": torch.zeros(2, 50)}
    with pytest.raises(DataError, match=r"category 1 must be in \[4, 6\), got 4 to 9"):
        PartIoU().process([sample])
