"""ONCE detection: average precision at 50 recall positions, with heading, by class and distance.

Definition: the ONCE benchmark (Mao et al. 2021, sec. 5.1) and its development kit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.files import atomic_write
from mae3d.errors import ConfigError, DataError
from mae3d.evaluation.frame_metric import Detections, FrameMetric
from mae3d.evaluation.recall_matching import FramePairs, interpolated_precision, matched_scores, true_and_false
from mae3d.ops.box_iou import box_iou_3d
from mae3d.registry import METRICS

GROUPS = {"Vehicle": ("Car", "Bus", "Truck"), "Pedestrian": ("Pedestrian",), "Cyclist": ("Cyclist",)}
"""Scored class -> names; any of them matches any."""

MIN_OVERLAP = {"Vehicle": 0.7, "Pedestrian": 0.3, "Cyclist": 0.5}
BANDS = {"overall": (0.0, np.inf), "0-30m": (0.0, 30.0), "30-50m": (30.0, 50.0), "50m-inf": (50.0, np.inf)}
"""Name -> distance of the box's centre from the sensor, metres: from (inclusive), to (exclusive)."""

POSITIONS = 50


@dataclass(frozen=True)
class OnceBoxes:
    """Boxes of one frame.

    Attributes:
        boxes: float64 [N, 7], sensor frame, gravity centres.
        names: str [N].
        scores: float64 [N]; detections only.
    """

    boxes: np.ndarray
    names: np.ndarray
    scores: np.ndarray | None = None


def score_thresholds(scores: np.ndarray, objects: int) -> list[float]:
    """The score at each reached recall position 0, 1/50 .. 1, at most 51; a position that is skipped repeats one.

    Args:
        scores: Of true detections.
        objects: Number of objects to be found.
    """
    ordered = np.sort(scores)[::-1]
    chosen: list[float] = []
    for place, score in enumerate(ordered):
        last = place == len(ordered) - 1
        middle = (place + 1 + (0 if last else 0.5)) / objects  # of the recall with this detection and with the next
        if middle < len(chosen) / POSITIONS and not last:
            continue
        chosen.append(float(score))
        while len(chosen) <= POSITIONS and middle + 1e-6 > len(chosen) / POSITIONS:
            chosen.append(float(score))
    return chosen[: POSITIONS + 1]


def oriented_overlap(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """3D IoU [D, G], 0 where the headings differ by more than a right angle."""
    overlap = box_iou_3d(*(torch.from_numpy(np.ascontiguousarray(b, dtype=np.float64)) for b in (found, truth))).numpy()
    turn = np.abs((found[:, None, 6] - truth[None, :, 6] + np.pi) % (2 * np.pi) - np.pi)
    return np.where(turn > np.pi / 2, 0.0, overlap)


@dataclass
class OnceDetectionMetric:
    """Collects frames with :meth:`process` and scores them with :meth:`compute`."""

    _frames: list[tuple[OnceBoxes, OnceBoxes, np.ndarray]] = field(default_factory=list)

    def process(self, predictions: OnceBoxes, truth: OnceBoxes) -> None:
        """Add one frame.

        Raises:
            DataError: missing scores, or scores that are not finite.
        """
        frame = len(self._frames)
        if predictions.scores is None or not np.isfinite(predictions.scores).all():
            raise DataError(f"frame {frame}: every prediction needs a score that is finite")
        self._frames.append((predictions, truth, oriented_overlap(predictions.boxes[:, :7], truth.boxes[:, :7])))

    def compute(self) -> dict[str, float]:
        """``<class>_<band>`` and ``mAP_<band>`` -> AP in percent."""
        result = {f"{name}_{band}": self._average_precision(name, band) for name in GROUPS for band in BANDS}
        means = {f"mAP_{band}": float(np.mean([result[f"{name}_{band}"] for name in GROUPS])) for band in BANDS}
        return {**means, **result}

    def _average_precision(self, name: str, band: str) -> float:
        low, high = BANDS[band]
        pairs = []
        for found, truth, overlap in self._frames:
            rows, columns = (np.flatnonzero(np.isin(b.names, GROUPS[name])) for b in (found, truth))
            outside = [
                ~((distance >= low) & (distance < high))
                for distance in (np.linalg.norm(b.boxes[:, :3], axis=1) for b in (found, truth))
            ]
            scores = found.scores[rows]
            pairs.append(FramePairs(overlap[np.ix_(rows, columns)], scores, outside[0][rows], outside[1][columns]))
        objects = sum(int((~pair.truth_ignored).sum()) for pair in pairs)
        thresholds = score_thresholds(matched_scores(pairs, MIN_OVERLAP[name]), max(1, objects))
        precision = interpolated_precision(*true_and_false(pairs, MIN_OVERLAP[name], thresholds), POSITIONS + 1)
        return float(precision[1:].sum() / POSITIONS * 100)


@METRICS.register_module()
class OnceMetric(FrameMetric):
    """AP in percent of each class by distance; see :class:`OnceDetectionMetric`. Frames without labels are left out.

    Arguments: see :class:`FrameMetric`; ``submission`` is a ``.json`` or ``.pkl`` file.
    """

    default_prefix = "once"

    def score(self, detections: list[Detections]) -> dict[str, float]:
        """See the class."""
        metric, classes = OnceDetectionMetric(), np.array(self.frames.classes)
        for number, found in enumerate(detections):
            frame = self.frames.frame(number)
            if not len(frame.boxes):
                continue
            known = frame.labels >= 0
            truth = OnceBoxes(frame.boxes[known, :7], classes[frame.labels[known]])
            metric.process(OnceBoxes(found.boxes[:, :7], classes[found.labels], found.scores), truth)
        return metric.compute()

    def write_submission(self, detections: list[Detections], path: Path) -> None:
        """A list with one record a frame, in the files' axes (x left, y back), as the development kit takes it.

        ``.json``: ``frame_id``, ``name`` [N], ``score`` [N], ``boxes_3d`` [N, 7] (centre, l w h, yaw). ``.pkl``: the
        same with arrays.

        Raises:
            ConfigError: Another ending.
        """
        if path.suffix not in (".json", ".pkl"):
            raise ConfigError(f"{path}: a submission to ONCE is a .json or .pkl file")
        classes = np.array(self.frames.classes)
        records = [
            {
                "frame_id": str(token),
                "name": classes[found.labels],
                "score": found.scores,
                "boxes_3d": _in_file_axes(found.boxes),
            }
            for token, found in zip(self.frames.token, detections)
        ]
        if path.suffix == ".pkl":
            save_array_pickle(records, path)
            return
        plain = [{k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()} for row in records]
        with atomic_write(path, "w") as file:
            json.dump(plain, file)


def _in_file_axes(boxes: np.ndarray) -> np.ndarray:
    """Boxes [N, 7] with x left and y back."""
    turned = boxes[:, :7].copy()
    turned[:, 0], turned[:, 1] = boxes[:, 1], -boxes[:, 0]
    turned[:, 6] = (boxes[:, 6] - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi
    return turned
