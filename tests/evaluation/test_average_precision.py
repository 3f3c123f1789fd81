"""Average precision against scikit-learn's, a loop, and closed forms."""

import pytest
import torch

from mae3d.errors import DataError
from mae3d.evaluation import MeanAveragePrecision, average_precision


def draw(count, classes, levels=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    positive = torch.rand(count, classes, generator=generator) < 0.2
    scores = torch.randn(count, classes, generator=generator) + positive
    return (scores if levels is None else (scores * levels).round()), positive


@pytest.mark.parametrize("levels", [None, 1, 3])  # with few levels many scores are equal
def test_equals_scikit_learn(levels):
    reference = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed").average_precision_score
    scores, positive = draw(300, 12, levels)
    expected = reference(positive.numpy(), scores.numpy(), average=None)
    torch.testing.assert_close(average_precision(scores, positive), torch.from_numpy(expected), rtol=1e-12, atol=0)
    metric = MeanAveragePrecision()
    rows = [{"scores": s, "target": t.float()} for s, t in zip(scores, positive)]
    metric.process(rows[:100])
    metric.process(rows[100:])
    result = metric.compute()
    assert result["mean_average_precision"] == pytest.approx(expected.mean(), rel=1e-12)
    assert result["classes"] == 12


def test_equals_the_definition():
    scores, positive = draw(40, 3, 2)
    for scored, true, found in zip(scores.T, positive.T, average_precision(scores, positive)):
        area, recall = 0.0, 0.0
        for threshold in scored.unique().flip(0):
            chosen = scored >= threshold
            now = (chosen & true).sum() / true.sum()
            area += (now - recall) * (chosen & true).sum() / chosen.sum()
            recall = now
        assert found.item() == pytest.approx(float(area), rel=1e-5)


def test_closed_forms():
    scores = torch.tensor([[4.0, 1, 5, 0], [3, 2, 5, 1], [2, 3, 5, 2], [1, 4, 5, 3]])
    positive = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    found = average_precision(scores, positive)
    assert found[:3].tolist() == pytest.approx([1, (1 / 3 + 2 / 4) / 2, 1 / 4])
    assert found[3].isnan()
    metric = MeanAveragePrecision()
    metric.process([{"scores": s, "target": 0.9 * t} for s, t in zip(scores, positive)])
    assert metric.compute() == {"mean_average_precision": pytest.approx(found[:3].mean().item()), "classes": 3}


def test_what_is_missing_is_named():
    metric = MeanAveragePrecision()
    with pytest.raises(DataError, match="needs scores, target of every sample"):
        metric.process([{"scores": torch.zeros(3), "label": torch.tensor(1)}])
    with pytest.raises(DataError, match=r"scores \[3\] and target \[4\]"):
        metric.process([{"scores": torch.zeros(3), "target": torch.zeros(4)}])
    metric.process([{"scores": torch.zeros(3), "target": torch.zeros(3)}])
    with pytest.raises(DataError, match="no sample has a label"):
        metric.compute()
