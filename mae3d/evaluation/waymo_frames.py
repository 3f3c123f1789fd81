"""The Waymo metric in the runner: detections of frames in, AP and APH out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mae3d.datasets.files import atomic_write
from mae3d.evaluation.frame_metric import Detections, FrameMetric
from mae3d.evaluation.waymo_detection import CLASSES, WaymoBoxes, WaymoDetectionMetric
from mae3d.registry import METRICS


@METRICS.register_module()
class WaymoMetric(FrameMetric):
    """AP and APH in percent of each class, level and distance; see :class:`WaymoDetectionMetric`.

    ``mAP_L2`` and ``mAPH_L2`` are means over the classes. Arguments: see :class:`FrameMetric`; ``submission`` is an
    ``.npz`` file, the official binary needs the benchmark's own library.
    """

    default_prefix = "waymo"

    def score(self, detections: list[Detections]) -> dict[str, float]:
        """See the class."""
        metric = WaymoDetectionMetric()
        table = np.array([CLASSES.index(name) for name in self.frames.classes])
        for number, found in enumerate(detections):
            frame = self.frames.frame(number)
            known = frame.labels >= 0
            truth = WaymoBoxes(
                frame.boxes[known, :7],
                table[frame.labels[known]],
                num_points=frame.num_points[known],
                level=frame.box_extra["difficulty"][known] if "difficulty" in frame.box_extra else None,
            )
            metric.process(WaymoBoxes(found.boxes[:, :7], table[found.labels], scores=found.scores), truth)
        result = metric.compute()
        means = {
            f"m{measure}_L{level}": float(np.mean([result[f"{name}_{measure}_L{level}"] for name in CLASSES]))
            for measure in ("AP", "APH")
            for level in (1, 2)
        }
        return {**means, **result}

    def write_submission(self, detections: list[Detections], path: Path) -> None:
        """Packed detections: context_name, timestamp_micros and offsets by frame, names, boxes, scores."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.savez_compressed(
                file,
                context_name=self.frames.extra["context_name"],
                timestamp_micros=self.frames.extra["timestamp_micros"],
                offsets=np.cumsum([0, *(len(found.scores) for found in detections)]),
                names=np.array(self.frames.classes)[np.concatenate([found.labels for found in detections])],
                boxes=np.concatenate([found.boxes[:, :7] for found in detections]),
                scores=np.concatenate([found.scores for found in detections]),
            )
