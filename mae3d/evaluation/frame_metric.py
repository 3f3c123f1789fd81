"""Base of detection metrics: detections per frame, ground truth from the index of the data set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mae3d.datasets.lidar.frame_index import FrameIndex
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS


@dataclass(frozen=True)
class Detections:
    """What a detector found in one frame.

    Attributes:
        boxes: float64 [N, 9]: x y z l w h yaw vx vy in the sensor frame; velocity 0 where none is predicted.
        scores: float64 [N].
        labels: int64 [N], index into the classes of the data set.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray

    def best(self, count: int) -> Detections:
        """The ``count`` boxes with the highest scores."""
        keep = np.argsort(-self.scores, kind="stable")[:count]
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep])


class FrameMetric(BaseMetric):
    """Metric over ``{boxes, scores, labels, index}`` per frame, in mmengine's evaluator or alone.

    Alone: ``metric.process(predictions)`` for each batch, then ``metric.compute()``. Frames of the index without
    predictions count as frames in which nothing was found. A split without annotations has no results: it gives a
    submission alone.

    Args:
        dataset: The data set that is evaluated, its config, or its index.
        classes: Names that predicted labels index into; default those of the data set.
        submission: Where to write the detections in the form that the benchmark takes; None writes nothing.
        prefix: Put before the names of the results, ``prefix/name``; None takes the class's own.
        collect_device: Where mmengine gathers results of several processes, "cpu" or "gpu".

    Raises:
        ConfigError: A class that the data set does not have.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        classes: Sequence[str] | None = None,
        submission: str | Path | None = None,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        built = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.frames: FrameIndex = built if isinstance(built, FrameIndex) else built.frames
        names = self.frames.classes if classes is None else tuple(classes)
        unknown = [name for name in names if name not in self.frames.classes]
        if unknown:
            raise ConfigError(
                f"{type(self).__name__}: the data set has no classes {unknown}, only {self.frames.classes}"
            )
        self.label_of = np.array([self.frames.classes.index(name) for name in names], dtype=np.int64)
        self.submission = None if submission is None else Path(submission)

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Any]] | None = None) -> None:
        """Take in one batch of predictions, alone or as mmengine's second argument.

        Raises:
            DataError: A prediction lacks a field, or is of a frame that is not in the index.
        """
        for sample in data_batch if data_samples is None else data_samples:
            missing = [name for name in ("boxes", "scores", "labels", "index") if name not in sample]
            if missing:
                raise DataError(
                    f"{type(self).__name__}: a prediction lacks {', '.join(missing)}; the model's predict mode must "
                    "give boxes, scores, labels and index"
                )
            index = int(sample["index"])
            if not 0 <= index < len(self.frames):
                raise DataError(f"{type(self).__name__}: frame {index} is not one of {len(self.frames)}")
            self.results.append((index, *(_array(sample[name]) for name in ("boxes", "scores", "labels"))))

    def compute(self) -> dict[str, float]:
        """Results over everything processed so far in this process."""
        return self.compute_metrics(self.results)

    def compute_metrics(self, results: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, float]:
        """See :meth:`score`; writes the submission where one is wanted."""
        found = {index: self._detections(*arrays) for index, *arrays in results}
        nothing = Detections(np.zeros((0, 9)), np.zeros(0), np.zeros(0, dtype=np.int64))
        detections = [found.get(index, nothing) for index in range(len(self.frames))]
        if self.submission is not None:
            self.write_submission(detections, self.submission)
            print_log(f"submission of {len(detections):,} frames written to {self.submission}", logger="current")
        if len(self.frames.boxes):
            return self.score(detections)
        if self.submission is None:
            raise DataError(
                f"{type(self).__name__}: the split has no annotations to compare with; only a submission can be made "
                "of it (submission=PATH, or --submission PATH on the command line)"
            )
        return {}

    def _detections(self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> Detections:
        wide = np.zeros((len(boxes), 9))
        wide[:, : boxes.shape[1]] = boxes
        return Detections(wide, scores.astype(np.float64), self.label_of[labels.astype(np.int64)])

    @abstractmethod
    def score(self, detections: list[Detections]) -> dict[str, float]:
        """Results of the detections of all frames, in the order of the index."""

    @abstractmethod
    def write_submission(self, detections: list[Detections], path: Path) -> None:
        """Write the detections of all frames in the form that the benchmark takes."""


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().float().cpu() if hasattr(value, "detach") else value)
