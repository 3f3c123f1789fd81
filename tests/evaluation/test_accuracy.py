import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from mae3d.errors import DataError
from mae3d.evaluation import Accuracy, FewShotSummary, VotedAccuracy


def predictions(count=60, classes=5, votes=7, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [
        {
            "scores": torch.randn(classes, generator=g),
            "vote_scores": torch.randn(votes, classes, generator=g),
            "label": torch.randint(0, classes, (), generator=g),
        }
        for _ in range(count)
    ]


def test_accuracy_equals_sklearn():
    samples = predictions()
    metric = Accuracy()
    metric.process(samples[:25])
    metric.process(None, samples[25:])
    label = [int(s["label"]) for s in samples]
    guess = [int(s["scores"].argmax()) for s in samples]
    assert metric.compute() == pytest.approx(
        {"accuracy": accuracy_score(label, guess), "mean_class_accuracy": balanced_accuracy_score(label, guess)}
    )


def test_classes_that_do_not_occur_are_left_out_of_the_mean():
    scores = torch.eye(4)
    metric = Accuracy()
    metric.process(
        [{"scores": scores[guess], "label": torch.tensor(label)} for guess, label in ((0, 0), (1, 0), (3, 3))]
    )
    assert metric.compute() == pytest.approx({"accuracy": 2 / 3, "mean_class_accuracy": 0.75})


def test_voted_accuracy_by_hand():
    samples = predictions()
    metric = VotedAccuracy()
    metric.process(samples)
    result = metric.compute()
    per_vote = [
        np.mean([int(s["vote_scores"][vote].argmax()) == int(s["label"]) for s in samples]) for vote in range(7)
    ]
    assert result["vote_best"] == pytest.approx(max(per_vote))
    assert result["vote_mean"] == pytest.approx(np.mean(per_vote))
    assert result["vote_std"] == pytest.approx(np.std(per_vote))
    assert result["vote_best"] >= result["vote_mean"]


def test_in_an_evaluator():
    samples = predictions()
    alone = Accuracy()
    alone.process(samples)
    expected = alone.compute()
    evaluator = Evaluator([Accuracy()])
    evaluator.process(samples[:30], None)
    evaluator.process(samples[30:], None)
    assert evaluator.evaluate(60) == {f"classification/{name}": value for name, value in expected.items()}


def test_missing_field_and_nothing_are_named():
    with pytest.raises(DataError, match="predict mode must give label"):
        Accuracy().process([{"scores": torch.zeros(3)}])
    with pytest.raises(DataError, match="nothing was processed"):
        Accuracy().compute()


def test_few_shot_summary_equals_numpy():
    values = [0.91, 0.95, 0.9, 0.99]
    summary = FewShotSummary()
    for fold, value in enumerate(values):
        summary.process(fold, value)
    result = summary.compute()
    assert result["mean"] == pytest.approx(np.mean(values))
    assert result["std"] == pytest.approx(np.std(values))
    assert result["folds"] == 4
    with pytest.raises(DataError, match="given twice"):
        summary.process(2, 0.5)
    with pytest.raises(DataError, match="no fold"):
        FewShotSummary().compute()
