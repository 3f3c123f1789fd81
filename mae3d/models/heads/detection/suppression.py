"""Which of overlapping detections are kept."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mae3d.errors import ConfigError
from mae3d.ops.nms import nms_circle, nms_class_aware, nms_rotated

KINDS = ("rotated", "class", "circle", "none")


@dataclass(frozen=True)
class Suppression:
    """Non-maximum suppression of one sample's boxes.

    Attributes:
        kind: "rotated": by overlap from above, all classes together; "class": the same within classes; "circle": by
            distance of centres; "none".
        threshold: IoU, or metres for "circle"; one per class is possible for "class".
        before: Boxes with the best scores that take part; with one number per class, of each class.
        after: Boxes kept at most; with one threshold or number per class, of each class.

    Raises:
        ConfigError: An unknown kind, or values per class for another kind or not as many of each.
    """

    kind: str = "rotated"
    threshold: float | Sequence[float] = 0.2
    before: int | Sequence[int] = 1000
    after: int | Sequence[int] = 83

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"Suppression: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        lengths = {len(value) for value in (self.threshold, self.before, self.after) if not _single(value)}
        if lengths and self.kind != "class":
            raise ConfigError(f'Suppression: thresholds per class need kind="class", got kind={self.kind!r}')
        if len(lengths) > 1:
            raise ConfigError(
                "Suppression: threshold, before and after per class must be as many, got "
                f"{self.threshold}, {self.before} and {self.after}"
            )

    def __call__(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """Indices int64 [N'] of kept boxes, best score first (per class where thresholds are).

        Args:
            boxes: [N, 7 or more].
            scores: [N].
            labels: int64 [N].
        """
        best = scores.argsort(descending=True, stable=True)
        best = best[: self.before] if _single(self.before) else best
        boxes, scores, labels = boxes[best, :7].contiguous(), scores[best], labels[best]
        return best[self._keep(boxes, scores, labels)]

    def _keep(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        if len(boxes) == 0:
            return labels
        if self.kind == "none":
            return torch.arange(min(len(boxes), self.after), device=boxes.device)
        if not all(_single(value) for value in (self.threshold, self.before, self.after)):
            return self._keep_per_class(boxes, scores, labels)
        if self.kind == "class":
            found = nms_class_aware(boxes, scores, labels, self.threshold, max_output=self.after)
        elif self.kind == "circle":
            found = nms_circle(boxes, scores, self.threshold, max_output=self.after)
        else:
            found = nms_rotated(boxes, scores, self.threshold, max_output=self.after)
        return found.keep[: int(found.count)]

    def _keep_per_class(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        values = (self.threshold, self.before, self.after)
        count = max(len(value) for value in values if not _single(value))
        columns = (itertools.repeat(value, count) if _single(value) else value for value in values)
        kept = []
        for label, (threshold, before, after) in enumerate(zip(*columns)):
            rows = (labels == label).nonzero().squeeze(1)[:before]  # best score first
            found = nms_rotated(boxes[rows], scores[rows], threshold, max_output=after)
            kept.append(rows[found.keep[: int(found.count)]])
        return torch.cat(kept)


def _single(value: object) -> bool:
    """One value for all classes."""
    return isinstance(value, (int, float))
