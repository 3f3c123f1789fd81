"""The nuScenes metric in the runner: detections of frames in, mAP and NDS out, submission file on the side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from mae3d.datasets.files import atomic_write
from mae3d.datasets.lidar.frame_index import Frame
from mae3d.datasets.lidar.nuscenes_tables import ATTRIBUTES
from mae3d.evaluation.frame_metric import Detections, FrameMetric
from mae3d.evaluation.nuscenes_detection import CLASSES, MAX_BOXES, DetectionBoxes, NuScenesDetectionMetric
from mae3d.registry import METRICS
from mae3d.structures.boxes import transform_boxes

MOVING = {
    "car": "vehicle.moving",
    "construction_vehicle": "vehicle.moving",
    "bus": "vehicle.moving",
    "truck": "vehicle.moving",
    "trailer": "vehicle.moving",
    "bicycle": "cycle.with_rider",
    "motorcycle": "cycle.with_rider",
    "pedestrian": "pedestrian.moving",
}
"""Class -> attribute of a detection that moves."""

RESTING = {
    "car": "vehicle.parked",
    "construction_vehicle": "vehicle.parked",
    "bus": "vehicle.stopped",
    "truck": "vehicle.parked",
    "trailer": "vehicle.parked",
    "bicycle": "cycle.without_rider",
    "motorcycle": "cycle.without_rider",
    "pedestrian": "pedestrian.standing",
}
"""Class -> attribute of a detection that does not move."""

MOVING_SPEED = 0.2
ERROR_NAMES = {"trans_err": "mATE", "scale_err": "mASE", "orient_err": "mAOE", "vel_err": "mAVE", "attr_err": "mAAE"}
RACK = -1
"""Label of bicycle racks in the index: cycles inside them are not scored."""


def attribute_names(labels: np.ndarray, velocity: np.ndarray) -> list[str]:
    """The rule of thumb by which published lidar detectors guess attributes from the speed; "" where there is none.

    Args:
        labels: int64 [N], index into the nuScenes classes.
        velocity: [N, 2], metres a second.
    """
    moving = np.hypot(velocity[:, 0], velocity[:, 1]) > MOVING_SPEED
    return [(MOVING if fast else RESTING).get(CLASSES[label], "") for label, fast in zip(labels, moving)]


@METRICS.register_module()
class NuScenesMetric(FrameMetric):
    """mAP, NDS, the five mean errors and the AP of each class; see :class:`NuScenesDetectionMetric`.

    Boxes are compared in the world frame, within the benchmark's distance of the vehicle, bicycles and motorcycles in
    bicycle racks left out, at most 500 detections a frame. Arguments: see :class:`FrameMetric`.
    """

    default_prefix = "nuscenes"

    def score(self, detections: list[Detections]) -> dict[str, float]:
        """Names as in the benchmark's tables: ``mAP``, ``NDS``, ``mATE`` ..., and ``AP_<class>``."""
        metric = NuScenesDetectionMetric()
        for number, found in enumerate(detections):
            frame = self.frames.frame(number)
            racks = _world(frame.boxes[frame.labels == RACK], frame)
            metric.process(
                _without_racks(self._predictions(found, frame), racks),
                _without_racks(self._truth(frame), racks),
                np.array([frame.extra["ego_x"], frame.extra["ego_y"]]),
            )
        result = metric.compute()
        scores = {"mAP": result.mean_ap, "NDS": result.nds}
        scores |= {ERROR_NAMES[name]: float(value) for name, value in result.mean_errors.items()}
        per_class = result.average_precision.items()
        return scores | {f"AP_{name}": float(np.mean(list(by_distance.values()))) for name, by_distance in per_class}

    def _labels(self, labels: np.ndarray) -> np.ndarray:
        table = np.array([CLASSES.index(name) for name in self.frames.classes])
        return table[labels]

    def _predictions(self, found: Detections, frame: Frame) -> DetectionBoxes:
        found = found.best(MAX_BOXES)
        labels = self._labels(found.labels)
        names = attribute_names(labels, found.boxes[:, 7:9])
        attributes = np.array([ATTRIBUTES.index(name) if name else -1 for name in names], dtype=np.int64)
        return DetectionBoxes(_world(found.boxes, frame), labels, attributes, scores=found.scores)

    def _truth(self, frame: Frame) -> DetectionBoxes:
        known = frame.labels >= 0
        return DetectionBoxes(
            _world(frame.boxes[known], frame),
            self._labels(frame.labels[known]),
            frame.box_extra["attribute"][known],
            num_points=frame.num_points[known],
        )

    def write_submission(self, detections: list[Detections], path: Path) -> None:
        """JSON of the detection task, see :func:`submission`."""
        results = {}
        for number, found in enumerate(detections):
            frame = self.frames.frame(number)
            best = found.best(MAX_BOXES)
            results[frame.token] = submission(frame.token, _world(best.boxes, frame), best, self._labels(best.labels))
        uses = dict.fromkeys(("use_camera", "use_radar", "use_map", "use_external"), False)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(json.dumps({"meta": {"use_lidar": True, **uses}, "results": results}).encode())


def submission(token: str, world_boxes: np.ndarray, found: Detections, labels: np.ndarray) -> list[dict]:
    """Records of one sample as nuScenes takes them: global frame, size w l h, quaternion w x y z."""
    half = world_boxes[:, 6] / 2
    names = attribute_names(labels, found.boxes[:, 7:9])
    return [
        {
            "sample_token": token,
            "translation": box[:3].tolist(),
            "size": [box[4], box[3], box[5]],
            "rotation": [float(np.cos(angle)), 0.0, 0.0, float(np.sin(angle))],
            "velocity": box[7:9].tolist(),
            "detection_name": CLASSES[label],
            "detection_score": float(score),
            "attribute_name": name,
        }
        for box, angle, label, score, name in zip(world_boxes, half, labels, found.scores, names)
    ]


def _world(boxes: np.ndarray, frame: Frame) -> np.ndarray:
    return transform_boxes(torch.from_numpy(boxes), torch.from_numpy(frame.world_from_sensor)).numpy()


def _without_racks(boxes: DetectionBoxes, racks: np.ndarray) -> DetectionBoxes:
    cycle = np.isin(boxes.labels, [CLASSES.index("bicycle"), CLASSES.index("motorcycle")])
    if not len(racks) or not cycle.any():
        return boxes
    offset = boxes.boxes[:, None, :3] - racks[None, :, :3]  # [N, R, 3]
    c, s = np.cos(racks[:, 6]), np.sin(racks[:, 6])
    along = offset[..., 0] * c + offset[..., 1] * s
    across = offset[..., 1] * c - offset[..., 0] * s
    inside = np.abs(np.stack((along, across, offset[..., 2]), axis=-1)) <= racks[None, :, 3:6] / 2
    return boxes.select(~(cycle & inside.all(axis=-1).any(axis=1)))
