"""Accuracy of classification, without and with voting."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.evaluation.sample_metric import SampleMetric
from mae3d.registry import METRICS


@METRICS.register_module()
class Accuracy(SampleMetric):
    """Share of samples whose largest score is at the true class.

    Takes ``scores`` [n] and ``label`` per sample. Gives ``accuracy`` over all samples and ``mean_class_accuracy``, the
    mean of the accuracies of the classes that occur, both in [0, 1].
    """

    default_prefix = "classification"
    fields = ("scores", "label")

    def summarize(self, sample: dict[str, Tensor]) -> tuple[int, int]:
        """Predicted and true class."""
        return int(sample["scores"].argmax()), int(sample["label"])

    def compute_metrics(self, results: list[tuple[int, int]]) -> dict[str, float]:
        """See the class."""
        predicted, label = torch.tensor(results).unbind(1)
        right = (predicted == label).double()
        per_class = [right[label == value].mean() for value in label.unique()]
        return {"accuracy": right.mean().item(), "mean_class_accuracy": torch.stack(per_class).mean().item()}


@METRICS.register_module()
class VotedAccuracy(SampleMetric):
    """Accuracy of repeated votes, as published and honestly.

    Takes ``scores`` [n], ``vote_scores`` [R, n] and ``label`` per sample. Gives ``accuracy`` without voting,
    ``vote_mean`` and ``vote_std`` over the R votes (the expected accuracy of one vote), and ``vote_best``, the largest
    of the R: what the published scripts print, a maximum chosen on the test set.
    """

    default_prefix = "voting"
    fields = ("scores", "vote_scores", "label")

    def summarize(self, sample: dict[str, Tensor]) -> tuple[bool, Tensor]:
        """Whether the plain prediction, and each vote, is right."""
        label = sample["label"]
        return bool(sample["scores"].argmax() == label), sample["vote_scores"].argmax(dim=-1) == label

    def compute_metrics(self, results: list[tuple[bool, Tensor]]) -> dict[str, float]:
        """See the class."""
        plain = torch.tensor([right for right, _ in results]).double()
        votes = torch.stack([right for _, right in results]).double().mean(dim=0)  # [R]
        return {
            "accuracy": plain.mean().item(),
            "vote_mean": votes.mean().item(),
            "vote_std": votes.std(correction=0).item(),
            "vote_best": votes.max().item(),
        }
