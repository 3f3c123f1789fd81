"""Mean average precision of samples with several labels."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.errors import DataError
from mae3d.evaluation.sample_metric import SampleMetric
from mae3d.registry import METRICS


def average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Area under the precision-recall steps of every class, without interpolation: sum of (R_n - R_{n-1}) P_n.

    Equal scores count as one step, so that the order of the samples does not matter.

    Args:
        scores: [N, K]; larger means more likely.
        positive: Bool [N, K].

    Returns:
        float64 [K]; nan for a class without a positive sample.
    """
    values, order = scores.double().sort(dim=0, descending=True)
    hits = positive.gather(0, order).double().cumsum(dim=0)  # [N, K]
    rank = torch.arange(1, len(scores) + 1, dtype=torch.float64, device=scores.device)[:, None]
    last = torch.ones_like(values, dtype=torch.bool)  # of a run of equal scores
    last[:-1] = values[1:] != values[:-1]
    # Hits up to the end of the run before, which is the largest number at an end so far.
    ends = torch.where(last, hits, torch.zeros_like(hits)).cummax(dim=0).values
    before = torch.cat((torch.zeros_like(ends[:1]), ends[:-1]))
    steps = torch.where(last, (hits - before) * hits / rank, torch.zeros_like(hits))
    return steps.sum(dim=0) / hits[-1]


@METRICS.register_module()
class MeanAveragePrecision(SampleMetric):
    """Mean over the classes of :func:`average_precision`, AudioSet's measure.

    Takes ``scores`` [K] and ``target`` [K] (positive above one half) per sample. Gives
    ``mean_average_precision`` in [0, 1] over the classes that have a positive sample, and their number ``classes``.
    """

    default_prefix = "classification"
    fields = ("scores", "target")

    def summarize(self, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Scores and positive classes."""
        scores, target = sample["scores"], sample["target"]
        if scores.shape != target.shape:
            raise DataError(
                f"MeanAveragePrecision: scores {list(scores.shape)} and target {list(target.shape)} of a sample differ "
                "in shape; the model's num_classes must be that of the data set"
            )
        return scores.float(), target > 0.5

    def compute_metrics(self, results: list[tuple[Tensor, Tensor]]) -> dict[str, float]:
        """See the class."""
        scores, positive = (torch.stack(part) for part in zip(*results))
        found = average_precision(scores, positive)
        occurring = found[positive.any(dim=0)]
        if not len(occurring):
            raise DataError("MeanAveragePrecision: no sample has a label")
        return {"mean_average_precision": occurring.mean().item(), "classes": float(len(occurring))}
