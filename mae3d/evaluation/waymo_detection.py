"""Waymo 3D detection: AP and heading-weighted APH at difficulty levels 1 and 2, by class and distance.

Definition: the Waymo Open Dataset's evaluator with its matching by the Hungarian method. As in its code, recall is not
weighted by heading. Distances are those of the box's centre in space.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from mae3d.errors import DataError, MissingExtraError
from mae3d.ops.box_iou import box_iou_3d

MIN_OVERLAP = {"Vehicle": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
CLASSES = tuple(MIN_OVERLAP)
LEVELS = (1, 2)
BANDS = {"": (0.0, np.inf), "_0-30m": (0.0, 30.0), "_30-50m": (30.0, 50.0), "_50m-inf": (50.0, np.inf)}
"""Ending of the result's name -> distance in metres: from (inclusive), to (exclusive)."""

CUTOFFS = np.arange(101) / 100
"""Scores from which detections are taken; unlike in other benchmarks the values of scores matter."""

FEW_POINTS = 5
RECALL_STEP = 0.05
_QUANTUM = 1000  # overlaps are compared in thousandths


@dataclass(frozen=True)
class WaymoBoxes:
    """Boxes of one frame.

    Attributes:
        boxes: float64 [N, 7].
        labels: int64 [N], index into :data:`CLASSES`.
        scores: float64 [N], 0 to 1; detections only.
        num_points: int64 [N]; ground truth only.
        level: int64 [N], annotated difficulty 1 or 2, 0 where unlabelled; ground truth only.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray | None = None
    num_points: np.ndarray | None = None
    level: np.ndarray | None = None


@dataclass
class _Counts:
    """Sums over frames at each cut-off."""

    true: np.ndarray = field(default_factory=lambda: np.zeros(len(CUTOFFS)))
    false: np.ndarray = field(default_factory=lambda: np.zeros(len(CUTOFFS)))
    heading: np.ndarray = field(default_factory=lambda: np.zeros(len(CUTOFFS)))
    missed: np.ndarray = field(default_factory=lambda: np.zeros((len(LEVELS), len(CUTOFFS))))


def average_precision(precision: np.ndarray, recall: np.ndarray) -> float:
    """Area under the curve, trapezoids over precision made non-increasing from the right.

    Where neighbouring recalls are more than 0.05 apart, points at steps of 0.05 below the higher one repeat its
    precision, so that nothing is gained between them.

    Args:
        precision: [K].
        recall: [K], any order; of equal ones the highest precision counts.
    """
    if not len(recall):
        return 0.0
    places = np.unique(np.append(recall, 0.0))[::-1]
    best = 0.0
    points: list[tuple[float, float]] = []
    for place in places:
        while points and points[-1][0] - place > RECALL_STEP + 1e-6:
            points.append((points[-1][0] - RECALL_STEP, best))
        best = max(best, precision[recall == place].max(initial=0.0) if place > 0 else 0.0)
        points.append((place, best))
    r, p = np.array(points).T
    return float(((r[:-1] - r[1:]) * (p[:-1] + p[1:]) / 2).sum())


def match_at_cutoffs(overlap: np.ndarray, scores: np.ndarray, min_overlap: float) -> np.ndarray:
    """Detection of each object at each cut-off, int64 [K, G], -1 for none: the matching of most total overlap.

    Args:
        overlap: [D, G].
        scores: [D].
        min_overlap: Least overlap of a match.

    Raises:
        MissingExtraError: a detection overlaps two objects enough, and scipy is not installed.
    """
    weight = np.where(overlap >= min_overlap, np.floor(overlap * _QUANTUM), 0)
    above = scores[None] >= CUTOFFS[:, None]  # [K, D]
    result = np.full((len(CUTOFFS), overlap.shape[1]), -1)
    if not weight.any():
        return result
    if (weight > 0).sum(axis=1).max() <= 1:  # no detection has a choice: every object takes its best
        value = above[:, :, None] * weight[None]
        return np.where(value.max(axis=1) > 0, value.argmax(axis=1), -1)
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise MissingExtraError("scipy", "reference", "Waymo's matching of overlapping detections") from error
    sets, place = np.unique(above, axis=0, return_inverse=True)
    for number, chosen in enumerate(sets):
        rows = np.flatnonzero(chosen & (weight > 0).any(axis=1))
        found, objects = linear_sum_assignment(weight[rows], maximize=True)
        real = weight[rows[found], objects] > 0
        match = np.full(overlap.shape[1], -1)
        match[objects[real]] = rows[found[real]]
        result[place.reshape(-1) == number] = match
    return result


@dataclass
class WaymoDetectionMetric:
    """Collects frames with :meth:`process` and scores them with :meth:`compute`."""

    _counts: dict[tuple[str, str], _Counts] = field(
        default_factory=lambda: {(name, band): _Counts() for name in CLASSES for band in BANDS}
    )
    _frames: int = 0

    def process(self, predictions: WaymoBoxes, truth: WaymoBoxes) -> None:
        """Add one frame. Objects without any point are left out.

        Raises:
            DataError: missing scores or point counts, or scores that are not in [0, 1].
        """
        if predictions.scores is None or truth.num_points is None:
            raise DataError(f"frame {self._frames}: predictions need 'scores' and ground truth needs 'num_points'")
        if not ((predictions.scores >= 0) & (predictions.scores <= 1)).all():
            raise DataError(f"frame {self._frames}: scores must lie in [0, 1], the benchmark cuts at fixed values")
        level = np.zeros(len(truth.labels), dtype=np.int64) if truth.level is None else truth.level
        hard = np.where((level == 2) | (truth.num_points <= FEW_POINTS), 2, 1)
        pair = [torch.from_numpy(np.ascontiguousarray(b.boxes[:, :7], dtype=np.float64)) for b in (predictions, truth)]
        overlap = box_iou_3d(*pair).numpy()
        distance = [np.linalg.norm(boxes.numpy()[:, :3], axis=1) for boxes in pair]
        for (name, band), counts in self._counts.items():
            low, high = BANDS[band]
            inside = [(d >= low) & (d < high) for d in distance]
            rows = np.flatnonzero((predictions.labels == CLASSES.index(name)) & inside[0])
            columns = np.flatnonzero((truth.labels == CLASSES.index(name)) & (truth.num_points != 0) & inside[1])
            turn = predictions.boxes[rows, None, 6] - truth.boxes[None, columns, 6]
            place = np.ix_(rows, columns)
            _add(counts, overlap[place], turn, predictions.scores[rows], hard[columns], MIN_OVERLAP[name])
        self._frames += 1

    def compute(self) -> dict[str, float]:
        """``<class>_<AP or APH>_L<1 or 2><band>`` -> value in percent."""
        result = {}
        for (name, band), counts in self._counts.items():
            found = np.maximum(counts.true + counts.false, 1)
            for number, level in enumerate(LEVELS):
                recall = counts.true / np.maximum(counts.true + counts.missed[number], 1)
                for measure, good in (("AP", counts.true), ("APH", counts.heading)):
                    result[f"{name}_{measure}_L{level}{band}"] = 100 * average_precision(good / found, recall)
        return result


def _add(
    counts: _Counts, overlap: np.ndarray, turn: np.ndarray, scores: np.ndarray, level: np.ndarray, min_overlap: float
) -> None:
    above = (scores[None] >= CUTOFFS[:, None]).sum(axis=1)
    if overlap.size == 0:
        match = np.full((len(CUTOFFS), len(level)), -1)
        accuracy = np.zeros(match.shape)
    else:
        match = match_at_cutoffs(overlap, scores, min_overlap)
        agreement = 1 - np.abs((turn + np.pi) % (2 * np.pi) - np.pi) / np.pi  # [D, G]
        accuracy = np.where(match >= 0, np.take_along_axis(agreement, np.maximum(match, 0), axis=0), 0)
    hit = match >= 0
    counts.true += hit.sum(axis=1)
    counts.false += above - hit.sum(axis=1)
    counts.heading += accuracy.sum(axis=1)
    for number, limit in enumerate(LEVELS):
        counts.missed[number] += (~hit & (level <= limit)).sum(axis=1)
