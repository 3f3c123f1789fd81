"""nuScenes detection metrics: mAP over centre distances, the five true-positive errors, NDS.

Definition: nuScenes devkit, ``eval/detection`` with configuration ``detection_cvpr_2019``; results equal the
devkit's. Matching runs over all frames at once instead of box by box.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from mae3d.errors import DataError

CLASS_RANGE = {
    "car": 50.0,
    "truck": 50.0,
    "bus": 50.0,
    "trailer": 50.0,
    "construction_vehicle": 50.0,
    "pedestrian": 40.0,
    "motorcycle": 40.0,
    "bicycle": 40.0,
    "traffic_cone": 30.0,
    "barrier": 30.0,
}
"""Class -> radius around the ego vehicle, metres, beyond which boxes are not counted."""

CLASSES = tuple(CLASS_RANGE)
DISTANCES = (0.5, 1.0, 2.0, 4.0)
TP_DISTANCE = 2.0
ERRORS = ("trans_err", "scale_err", "orient_err", "vel_err", "attr_err")
UNDEFINED = {
    "traffic_cone": {"orient_err", "vel_err", "attr_err"},
    "barrier": {"vel_err", "attr_err"},
}
"""Class -> errors that have no meaning for it."""

MIN_RECALL = 0.1
MIN_PRECISION = 0.1
MAX_BOXES = 500
_GRID = np.linspace(0, 1, 101)
_FIRST = round(100 * MIN_RECALL) + 1


@dataclass(frozen=True)
class DetectionBoxes:
    """Boxes of one frame.

    Attributes:
        boxes: float64 [N, 9]: x y z l w h yaw vx vy; gravity centre, metres, radians counter-clockwise from +x,
            metres a second; one fixed frame of reference (global for numbers equal to the devkit's).
        labels: int64 [N], index into :data:`CLASSES`.
        attributes: int64 [N], any numbering, -1 where there is none.
        scores: float64 [N]; predictions only.
        num_points: int64 [N], lidar and radar points inside; ground truth only.
    """

    boxes: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray
    scores: np.ndarray | None = None
    num_points: np.ndarray | None = None

    def select(self, keep: np.ndarray) -> DetectionBoxes:
        """The boxes at ``keep`` (bool or index)."""
        pick = lambda values: None if values is None else values[keep]  # noqa: E731
        return DetectionBoxes(
            self.boxes[keep], self.labels[keep], self.attributes[keep], pick(self.scores), pick(self.num_points)
        )


@dataclass
class NuScenesResult:
    """What the benchmark reports.

    Attributes:
        mean_ap: mAP in [0, 1].
        nds: nuScenes detection score in [0, 1].
        average_precision: class -> distance threshold -> AP.
        class_errors: class -> error name -> value (NaN where undefined).
        mean_errors: error name -> mean over classes (metres, 1 - IoU, radians, metres a second, 1 - accuracy).
    """

    mean_ap: float
    nds: float
    average_precision: dict[str, dict[float, float]]
    class_errors: dict[str, dict[str, float]]
    mean_errors: dict[str, float]

    def table(self) -> list[list[str]]:
        """Rows of strings, one a class: name, AP, the five errors."""
        rows = []
        for name in self.average_precision:
            ap = np.mean(list(self.average_precision[name].values()))
            errors = [self.class_errors[name][error] for error in ERRORS]
            rows.append([name, f"{ap:.3f}", *("-" if np.isnan(e) else f"{e:.3f}" for e in errors)])
        return rows


@dataclass
class NuScenesDetectionMetric:
    """Collects frames with :meth:`process` and scores them with :meth:`compute`.

    Example:
        >>> metric = NuScenesDetectionMetric()
        >>> box = np.array([[5.0, 0, 0, 4, 2, 1.5, 0, 0, 0]])
        >>> car = np.array([0])
        >>> truth = DetectionBoxes(box, car, car, num_points=np.array([9]))
        >>> metric.process(DetectionBoxes(box, car, car, scores=np.ones(1)), truth)
        >>> metric.compute().average_precision["car"][0.5]
        1.0
    """

    _frames: list[tuple[DetectionBoxes, DetectionBoxes]] = field(default_factory=list)

    def process(
        self, predictions: DetectionBoxes, truth: DetectionBoxes, ego_position: np.ndarray | None = None
    ) -> None:
        """Add one frame.

        Args:
            predictions: At most 500 boxes with scores.
            truth: Boxes with ``num_points``.
            ego_position: [2 or 3] position of the ego vehicle in the boxes' frame, metres; default the origin.

        Raises:
            DataError: more than 500 predictions, missing scores or point counts, or non-finite scores.
        """
        frame = len(self._frames)
        if len(predictions.boxes) > MAX_BOXES:
            raise DataError(f"frame {frame}: {len(predictions.boxes)} predictions, nuScenes allows {MAX_BOXES}")
        if predictions.scores is None or truth.num_points is None:
            raise DataError(f"frame {frame}: predictions need 'scores' and ground truth needs 'num_points'")
        if not np.isfinite(predictions.scores).all():
            raise DataError(f"frame {frame}: a prediction has a score that is not finite")
        ego = np.zeros(2) if ego_position is None else np.asarray(ego_position, dtype=np.float64)[:2]
        self._frames.append((_in_range(predictions, ego), _in_range(truth.select(truth.num_points != 0), ego)))

    def compute(self, classes: Iterable[str] = CLASSES) -> NuScenesResult:
        """Score all frames; classes without ground truth count with AP 0 and errors 1, as in the devkit."""
        curves = {name: _class_curves(self._frames, CLASSES.index(name)) for name in classes}
        average_precision = {
            name: {d: _average_precision(curve[d].precision) for d in DISTANCES} for name, curve in curves.items()
        }
        errors = {name: _class_errors(name, curve[TP_DISTANCE]) for name, curve in curves.items()}
        mean_ap = float(np.mean([np.mean(list(by_distance.values())) for by_distance in average_precision.values()]))
        mean_errors = {error: _nanmean([errors[name][error] for name in curves]) for error in ERRORS}
        scores = [max(0.0, 1.0 - value) for value in mean_errors.values() if not np.isnan(value)]
        nds = (5 * mean_ap + sum(scores)) / (5 + len(ERRORS))
        return NuScenesResult(mean_ap, float(nds), average_precision, errors, mean_errors)


@dataclass(frozen=True)
class _Curve:
    """Precision, confidence and running errors on the recall grid 0, 0.01 .. 1."""

    precision: np.ndarray
    confidence: np.ndarray
    errors: dict[str, np.ndarray]


def _in_range(boxes: DetectionBoxes, ego: np.ndarray) -> DetectionBoxes:
    reach = np.array([CLASS_RANGE[name] for name in CLASSES])[boxes.labels]
    distance = np.sqrt(((boxes.boxes[:, :2] - ego) ** 2).sum(axis=1))
    return boxes.select(distance < reach)


def _nanmean(values: list[float]) -> float:
    finite = [value for value in values if not np.isnan(value)]
    return float(np.mean(finite)) if finite else float("nan")


def _class_curves(frames: list[tuple[DetectionBoxes, DetectionBoxes]], label: int) -> dict[float, _Curve]:
    predictions = [p.select(p.labels == label) for p, _ in frames]
    truths = [t.select(t.labels == label) for _, t in frames]
    positives = sum(len(t.boxes) for t in truths)
    scores = np.concatenate([p.scores for p in predictions]) if predictions else np.zeros(0)
    if positives == 0 or not len(scores):
        return dict.fromkeys(DISTANCES, _no_predictions())
    # Descending score; of equal scores the later box comes first, as in the devkit.
    order = np.lexsort((np.arange(len(scores)), scores))[::-1]
    period = np.pi if CLASSES[label] == "barrier" else 2 * np.pi
    matches = _match(predictions, truths)
    flat_p = np.concatenate([p.boxes for p in predictions])
    flat_t = np.concatenate([t.boxes for t in truths])
    attributes = (
        np.concatenate([p.attributes for p in predictions]),
        np.concatenate([t.attributes for t in truths]),
    )
    curves = {}
    for distance in DISTANCES:
        match = matches[distance][order]
        hit = match >= 0
        if not hit.any():
            curves[distance] = _no_predictions()
            continue
        errors = _pair_errors(flat_p, flat_t, *attributes, order[hit], match[hit], period)
        curves[distance] = _curve(hit, scores[order], errors, positives)
    return curves


def _no_predictions() -> _Curve:
    return _Curve(np.zeros(101), np.zeros(101), {error: np.ones(101) for error in ERRORS})


def _match(predictions: list[DetectionBoxes], truths: list[DetectionBoxes]) -> dict[float, np.ndarray]:
    """Greedy matching: distance threshold -> for each prediction its ground truth (index over all frames) or -1.

    Frames are independent, so the n-th best prediction of every frame is matched in one vectorised step.
    """
    starts_p = np.cumsum([0, *(len(p.boxes) for p in predictions)])
    starts_t = np.cumsum([0, *(len(t.boxes) for t in truths)])
    result = {d: np.full(starts_p[-1], -1, dtype=np.int64) for d in DISTANCES}
    active = [f for f, (p, t) in enumerate(zip(predictions, truths)) if len(p.boxes) and len(t.boxes)]
    for begin in range(0, len(active), 256):
        chunk = active[begin : begin + 256]
        width_p = max(len(predictions[f].boxes) for f in chunk)
        width_t = max(len(truths[f].boxes) for f in chunk)
        distance = np.full((len(chunk), width_p, width_t), np.inf)
        rows = np.zeros((len(chunk), width_p), dtype=np.int64)
        for slot, f in enumerate(chunk):
            p, t = predictions[f], truths[f]
            ranked = np.lexsort((np.arange(len(p.scores)), p.scores))[::-1]
            gap = p.boxes[ranked, None, :2] - t.boxes[None, :, :2]
            distance[slot, : len(ranked), : len(t.boxes)] = np.sqrt((gap**2).sum(axis=-1))
            rows[slot, : len(ranked)] = starts_p[f] + ranked
        first = starts_t[chunk]
        for threshold in DISTANCES:
            _match_chunk(distance, rows, first, threshold, result[threshold])
    return result


def _match_chunk(
    distance: np.ndarray, rows: np.ndarray, first: np.ndarray, threshold: float, result: np.ndarray
) -> None:
    frames = np.arange(len(distance))
    free = np.zeros((distance.shape[0], distance.shape[2]))  # 0 where free, inf where taken
    for rank in range(distance.shape[1]):
        reach = distance[:, rank] + free
        nearest = reach.argmin(axis=1)
        hit = np.flatnonzero(reach[frames, nearest] < threshold)
        free[hit, nearest[hit]] = np.inf
        result[rows[hit, rank]] = first[hit] + nearest[hit]


def _pair_errors(
    boxes_p: np.ndarray,
    boxes_t: np.ndarray,
    attributes_p: np.ndarray,
    attributes_t: np.ndarray,
    rows: np.ndarray,
    match: np.ndarray,
    period: float,
) -> dict[str, np.ndarray]:
    p, t = boxes_p[rows], boxes_t[match]
    overlap = np.minimum(p[:, 3:6], t[:, 3:6]).prod(axis=1)
    union = p[:, 3:6].prod(axis=1) + t[:, 3:6].prod(axis=1) - overlap
    turn = (t[:, 6] - p[:, 6] + period / 2) % period - period / 2
    turn = np.where(turn > np.pi, turn - 2 * np.pi, turn)
    same = (attributes_p[rows] == attributes_t[match]).astype(np.float64)
    return {
        "trans_err": np.sqrt(((p[:, :2] - t[:, :2]) ** 2).sum(axis=1)),
        "scale_err": 1 - overlap / union,
        "orient_err": np.abs(turn),
        "vel_err": np.sqrt(((p[:, 7:9] - t[:, 7:9]) ** 2).sum(axis=1)),
        "attr_err": np.where(attributes_t[match] < 0, np.nan, 1 - same),
    }


def _running_mean(values: np.ndarray) -> np.ndarray:
    if np.isnan(values).all():
        return np.ones(len(values))
    total, count = np.nancumsum(values), np.cumsum(~np.isnan(values))
    return np.divide(total, count, out=np.zeros_like(total), where=count != 0)


def _curve(hit: np.ndarray, scores: np.ndarray, errors: dict[str, np.ndarray], positives: int) -> _Curve:
    true, false = np.cumsum(hit).astype(np.float64), np.cumsum(~hit).astype(np.float64)
    recall = true / positives
    precision = np.interp(_GRID, recall, true / (true + false), right=0)
    confidence = np.interp(_GRID, recall, scores, right=0)
    hit_scores = scores[hit]
    running = {
        name: np.interp(confidence[::-1], hit_scores[::-1], _running_mean(values)[::-1])[::-1]
        for name, values in errors.items()
    }
    return _Curve(precision, confidence, running)


def _average_precision(precision: np.ndarray) -> float:
    above = np.maximum(precision[_FIRST:] - MIN_PRECISION, 0)
    return float(above.mean()) / (1.0 - MIN_PRECISION)


def _class_errors(name: str, curve: _Curve) -> dict[str, float]:
    achieved = np.flatnonzero(curve.confidence)
    last = int(achieved[-1]) if len(achieved) else 0
    result = {}
    for error in ERRORS:
        if error in UNDEFINED.get(name, ()):
            result[error] = float("nan")
        elif last < _FIRST:
            result[error] = 1.0
        else:
            result[error] = float(curve.errors[error][_FIRST : last + 1].mean())
    return result
