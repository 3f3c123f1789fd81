"""Which of overlapping detections are kept."""

from __future__ import annotations

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
        before: Boxes with the best scores that take part.
        after: Boxes kept at most; with one threshold per class, of each class.

    Raises:
        ConfigError: An unknown kind, or thresholds per class for another kind.
    """

    kind: str = "rotated"
    threshold: float | Sequence[float] = 0.2
    before: int = 1000
    after: int = 83

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"Suppression: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.kind != "class" and not isinstance(self.threshold, (int, float)):
            raise ConfigError(f'Suppression: thresholds per class need kind="class", got kind={self.kind!r}')

    def __call__(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        """Indices int64 [N'] of kept boxes, best score first (per class where thresholds are).

        Args:
            boxes: [N, 7 or more].
            scores: [N].
            labels: int64 [N].
        """
        best = scores.argsort(descending=True, stable=True)[: self.before]
        boxes, scores, labels = boxes[best, :7].contiguous(), scores[best], labels[best]
        return best[self._keep(boxes, scores, labels)]

    def _keep(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        if self.kind == "none" or len(boxes) == 0:
            return torch.arange(min(len(boxes), self.after), device=boxes.device)
        if not isinstance(self.threshold, (int, float)):
            return self._keep_per_class(boxes, scores, labels)
        if self.kind == "class":
            found = nms_class_aware(boxes, scores, labels, self.threshold, max_output=self.after)
        elif self.kind == "circle":
            found = nms_circle(boxes, scores, self.threshold, max_output=self.after)
        else:
            found = nms_rotated(boxes, scores, self.threshold, max_output=self.after)
        return found.keep[: int(found.count)]

    def _keep_per_class(self, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
        kept = []
        for label, threshold in enumerate(self.threshold):
            rows = (labels == label).nonzero().squeeze(1)
            found = nms_rotated(boxes[rows], scores[rows], threshold, max_output=self.after)
            kept.append(rows[found.keep[: int(found.count)]])
        return torch.cat(kept)
