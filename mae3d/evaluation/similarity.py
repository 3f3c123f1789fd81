"""Correlation of predicted and judged similarity (STS benchmark)."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.evaluation.sample_metric import SampleMetric
from mae3d.registry import METRICS


def average_ranks(values: Tensor) -> Tensor:
    """Ranks from 1, float64 [N]; equal values share the mean of their ranks."""
    _, inverse, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]


def pearson(first: Tensor, second: Tensor) -> float:
    """Linear correlation of two series [N]; nan where one of them is constant."""
    a, b = (values.double() - values.double().mean() for values in (first, second))
    return float((a @ b) / (a.norm() * b.norm()))


def spearman(first: Tensor, second: Tensor) -> float:
    """Correlation of the ranks of two series [N]."""
    return pearson(average_ranks(first), average_ranks(second))


@METRICS.register_module()
class SimilarityCorrelation(SampleMetric):
    """Spearman's and Pearson's correlation over all pairs.

    Takes ``similarity`` and ``score`` per pair. Gives ``spearman`` and ``pearson`` in [-1, 1].
    """

    default_prefix = "similarity"
    fields = ("similarity", "score")

    def summarize(self, sample: dict[str, Tensor]) -> tuple[float, float]:
        """Predicted and judged similarity."""
        return float(sample["similarity"]), float(sample["score"])

    def compute_metrics(self, results: list[tuple[float, float]]) -> dict[str, float]:
        """See the class."""
        predicted, judged = torch.tensor(results, dtype=torch.float64).unbind(1)
        return {"spearman": spearman(predicted, judged), "pearson": pearson(predicted, judged)}
