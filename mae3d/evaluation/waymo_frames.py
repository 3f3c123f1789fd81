"""The Waymo metric in the runner: detections of frames in, AP and APH out."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mae3d.datasets.files import atomic_write
from mae3d.datasets.lidar.waymo_segment import LABEL_TYPES
from mae3d.datasets.protobuf import encode, encode_float
from mae3d.evaluation.frame_metric import Detections, FrameMetric
from mae3d.evaluation.waymo_detection import CLASSES, WaymoBoxes, WaymoDetectionMetric
from mae3d.registry import METRICS


@METRICS.register_module()
class WaymoMetric(FrameMetric):
    """AP and APH in percent of each class, level and distance; see :class:`WaymoDetectionMetric`.

    ``mAP_L2`` and ``mAPH_L2`` are means over the classes. Arguments: see :class:`FrameMetric`; ``submission`` is the
    benchmark's binary file of predictions (``.bin``).
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
        """The benchmark's ``Objects`` message, which its evaluator and submission tool read."""
        extra = self.frames.extra
        with atomic_write(path) as file:
            for number, found in enumerate(detections):
                context, time = str(extra["context_name"][number]), int(extra["timestamp_micros"][number])
                names = [self.frames.classes[label] for label in found.labels]
                for box, score, name in zip(found.boxes, found.scores, names):
                    file.write(encode([(1, _object(box, float(score), name, context, time))]))


def _object(box: np.ndarray, score: float, name: str, context: str, time: int) -> bytes:
    """An ``Object``: its ``Label`` (box in the vehicle's frame, type), score, frame."""
    x, y, z, length, width, height, heading = (float(value) for value in box[:7])
    heading = (heading + np.pi) % (2 * np.pi) - np.pi
    shape = encode(list(enumerate((x, y, z, width, length, height, heading), start=1)))
    label = encode([(1, shape), (3, LABEL_TYPES.index(name))])
    return encode([(1, label)]) + encode_float(2, score) + encode([(4, context), (5, time)])
