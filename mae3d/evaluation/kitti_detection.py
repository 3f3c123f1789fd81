"""KITTI object detection: average precision in 3D and from above, at 11 and at 40 recall positions.

Definition: the benchmark's evaluator in the form of OpenPCDet. Overlaps are computed in the lidar frame, which is
tilted against the camera's by about a degree; boxes stay upright in both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from mae3d.errors import DataError
from mae3d.evaluation.recall_matching import FramePairs, interpolated_precision, matched_scores, true_and_false
from mae3d.ops.box_iou import box_iou_3d, box_iou_bev

CLASSES = ("Car", "Pedestrian", "Cyclist")
MIN_OVERLAP = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
SIMILAR = {"Car": "Van", "Pedestrian": "Person_sitting"}
"""Class -> category that it may be taken for without being counted."""

DIFFICULTIES = {"easy": (40, 0, 0.15), "moderate": (25, 1, 0.3), "hard": (25, 2, 0.5)}
"""Name -> least height of the image box in pixels, most occlusion, most truncation."""

SAMPLES = 41
_MEASURES = {"3d": box_iou_3d, "bev": box_iou_bev}


@dataclass(frozen=True)
class KittiBoxes:
    """Boxes of one frame.

    Attributes:
        boxes: float64 [N, 7], lidar frame, gravity centres.
        names: str [N], categories.
        height: float64 [N], of the box in the image, pixels.
        scores: float64 [N]; detections only.
        occlusion: int64 [N]; ground truth only.
        truncation: float64 [N]; ground truth only.
    """

    boxes: np.ndarray
    names: np.ndarray
    height: np.ndarray
    scores: np.ndarray | None = None
    occlusion: np.ndarray | None = None
    truncation: np.ndarray | None = None


def score_thresholds(scores: np.ndarray, objects: int) -> list[float]:
    """The scores at which precision is sampled, about 1/40 of recall apart; exactly the published sampler.

    With few objects it gives fewer than 41, so that even a perfect detector stays under 100.

    Args:
        scores: Of true detections.
        objects: Number of objects to be found.
    """
    ordered = np.sort(scores)[::-1]
    chosen, recall = [], 0.0
    for place, score in enumerate(ordered):
        last = place == len(ordered) - 1
        left = (place + 1) / objects
        right = left if last else (place + 2) / objects
        if right - recall < recall - left and not last:
            continue
        chosen.append(float(score))
        recall += 1 / (SAMPLES - 1.0)
    return chosen


def recall_positions(precision: np.ndarray) -> dict[str, float]:
    """AP in percent of 41 interpolated precisions: ``R40`` without the first, ``R11`` of every fourth."""
    return {"R40": float(precision[1:].sum() / 40 * 100), "R11": float(precision[::4].sum() / 11 * 100)}


@dataclass
class KittiDetectionMetric:
    """Collects frames with :meth:`process` and scores them with :meth:`compute`."""

    _frames: list[tuple[KittiBoxes, KittiBoxes, dict[str, np.ndarray]]] = field(default_factory=list)

    def process(self, predictions: KittiBoxes, truth: KittiBoxes) -> None:
        """Add one frame.

        Raises:
            DataError: missing scores, occlusion or truncation, or scores that are not finite.
        """
        frame = len(self._frames)
        if predictions.scores is None or truth.occlusion is None or truth.truncation is None:
            raise DataError(f"frame {frame}: predictions need 'scores', ground truth 'occlusion' and 'truncation'")
        if not np.isfinite(predictions.scores).all():
            raise DataError(f"frame {frame}: a prediction has a score that is not finite")
        pair = [torch.from_numpy(np.ascontiguousarray(b.boxes[:, :7], dtype=np.float64)) for b in (predictions, truth)]
        overlaps = {name: measure(*pair).numpy() for name, measure in _MEASURES.items()}
        self._frames.append((predictions, truth, overlaps))

    def compute(self) -> dict[str, float]:
        """``<class>_<3d or bev>_<difficulty>_<R40 or R11>`` -> AP in percent."""
        result = {}
        for name in CLASSES:
            for difficulty in DIFFICULTIES:
                pairs = [self._pairs(*frame, name, difficulty) for frame in self._frames]
                objects = sum(count for _, count in pairs)
                for measure in _MEASURES:
                    precision = _precision([made[measure] for made, _ in pairs], MIN_OVERLAP[name], objects)
                    for positions, value in recall_positions(precision).items():
                        result[f"{name}_{measure}_{difficulty}_{positions}"] = value
        return result

    @staticmethod
    def _pairs(
        predictions: KittiBoxes, truth: KittiBoxes, overlaps: dict[str, np.ndarray], name: str, difficulty: str
    ) -> tuple[dict[str, FramePairs], int]:
        least, occluded, truncated = DIFFICULTIES[difficulty]
        hard = (truth.occlusion > occluded) | (truth.truncation > truncated) | (truth.height <= least)
        counted = (truth.names == name) & ~hard
        objects = np.flatnonzero((truth.names == name) | (truth.names == SIMILAR.get(name, "")))
        # A detection that is too low in the image is ignored whatever its class, as published.
        low = np.abs(predictions.height) < least
        found = np.flatnonzero((predictions.names == name) | low)
        made = {
            measure: FramePairs(
                overlap[np.ix_(found, objects)], predictions.scores[found], low[found], ~counted[objects]
            )
            for measure, overlap in overlaps.items()
        }
        return made, int(counted.sum())


def _precision(frames: list[FramePairs], min_overlap: float, objects: int) -> np.ndarray:
    thresholds = score_thresholds(matched_scores(frames, min_overlap), max(1, objects))[:SAMPLES]
    return interpolated_precision(*true_and_false(frames, min_overlap, thresholds), SAMPLES)
