"""Intersection over union of object parts, by ShapeNetPart's rules."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from mae3d.errors import DataError
from mae3d.evaluation.sample_metric import SampleMetric
from mae3d.registry import METRICS

SHAPENET_PART_COUNTS = (4, 2, 2, 4, 4, 3, 3, 2, 4, 2, 6, 2, 3, 3, 3, 3)
"""Parts of each of the 16 categories, in the order of their labels (airplane ... table); part labels count on."""


@METRICS.register_module()
class PartIoU(SampleMetric):
    """Mean IoU of parts.

    Takes ``scores`` [N, parts], ``part_label`` [N] and ``label`` (the category) per object. The predicted part is the
    one with the largest score among the parts of the object's category; a part that neither occurs nor is predicted
    counts as IoU 1; an object's IoU is the mean over its category's parts.

    Gives ``instance_miou`` (mean over objects), ``class_miou`` (mean over categories of the mean over their objects),
    ``accuracy`` (share of right points) and ``class_accuracy`` (mean over parts that occur), all in [0, 1].

    Args:
        part_counts: Parts of each category; category c owns the labels that follow those of category c - 1.
        prefix: See :class:`SampleMetric`.
        collect_device: See :class:`SampleMetric`.
    """

    default_prefix = "parts"
    fields = ("scores", "part_label", "label")

    def __init__(
        self,
        part_counts: Sequence[int] = SHAPENET_PART_COUNTS,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(prefix, collect_device)
        ends = list(itertools.accumulate(part_counts))
        self.parts = [range(end - count, end) for end, count in zip(ends, part_counts)]

    def summarize(self, sample: dict[str, Tensor]) -> tuple[int, float, Tensor, Tensor]:
        """Category, IoU, and per part the number of points and of right points."""
        category, truth = int(sample["label"]), sample["part_label"]
        parts = self.parts[category]
        if truth.numel() and not (parts.start <= int(truth.min()) and int(truth.max()) < parts.stop):
            raise DataError(
                f"PartIoU: part_label of an object of category {category} must be in [{parts.start}, {parts.stop}), "
                f"got {int(truth.min())} to {int(truth.max())}"
            )
        total = self.parts[-1].stop
        predicted = sample["scores"][:, parts.start : parts.stop].argmax(dim=-1) + parts.start
        seen = truth.bincount(minlength=total)
        right = truth[predicted == truth].bincount(minlength=total)
        union = seen + predicted.bincount(minlength=total) - right
        own = slice(parts.start, parts.stop)
        iou = torch.where(union[own] > 0, right[own].double() / union[own].clamp(min=1), 1.0)
        return category, iou.mean().item(), seen, right

    def compute_metrics(self, results: list[tuple[int, float, Tensor, Tensor]]) -> dict[str, float]:
        """See the class."""
        category = torch.tensor([row[0] for row in results])
        iou = torch.tensor([row[1] for row in results], dtype=torch.float64)
        seen = torch.stack([row[2] for row in results]).sum(dim=0)
        right = torch.stack([row[3] for row in results]).sum(dim=0)
        per_class = torch.stack([iou[category == value].mean() for value in category.unique()])
        occurs = seen > 0
        return {
            "instance_miou": iou.mean().item(),
            "class_miou": per_class.mean().item(),
            "accuracy": (right.sum() / seen.sum()).item(),
            "class_accuracy": (right[occurs] / seen[occurs]).mean().item(),
        }
