"""The KITTI metric in the runner: detections of frames in, average precision out, result files on the side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mae3d.datasets.files import atomic_write
from mae3d.datasets.lidar.frame_index import Frame
from mae3d.datasets.lidar.kitti_files import CATEGORIES
from mae3d.evaluation.frame_metric import Detections, FrameMetric
from mae3d.evaluation.kitti_detection import KittiBoxes, KittiDetectionMetric
from mae3d.registry import METRICS
from mae3d.structures.box_conventions import to_kitti_camera
from mae3d.structures.boxes import box_corners


@METRICS.register_module()
class KittiMetric(FrameMetric):
    """AP in percent of each class, in 3D and from above, by difficulty; see :class:`KittiDetectionMetric`.

    ``mAP_3d_moderate_R40`` is the mean over the classes of the headline. Arguments: see :class:`FrameMetric`;
    ``submission`` is a folder of result files.
    """

    default_prefix = "kitti"

    def score(self, detections: list[Detections]) -> dict[str, float]:
        """See the class."""
        metric = KittiDetectionMetric()
        for number, found in enumerate(detections):
            frame = self.frames.frame(number)
            metric.process(self._predictions(found, frame), _truth(frame))
        result = metric.compute()
        headline = [result[f"{name}_3d_moderate_R40"] for name in self.frames.classes]
        return {"mAP_3d_moderate_R40": float(np.mean(headline)), **result}

    def _predictions(self, found: Detections, frame: Frame) -> KittiBoxes:
        image = image_boxes(found.boxes, frame)
        names = np.array(self.frames.classes)[found.labels]
        return KittiBoxes(found.boxes[:, :7], names, image[:, 3] - image[:, 1], scores=found.scores)

    def write_submission(self, detections: list[Detections], path: Path) -> None:
        """One text file per frame, ``000123.txt``, in the benchmark's format."""
        path.mkdir(parents=True, exist_ok=True)
        for number, found in enumerate(detections):
            frame = self.frames.frame(number)
            with atomic_write(path / f"{frame.token}.txt") as file:
                file.write("".join(f"{line}\n" for line in self._lines(found, frame)).encode())

    def _lines(self, found: Detections, frame: Frame) -> list[str]:
        camera = _camera_boxes(found.boxes, frame)
        alpha = camera[:, 6] - np.arctan2(camera[:, 0], camera[:, 2])
        alpha = (alpha + np.pi) % (2 * np.pi) - np.pi
        image = image_boxes(found.boxes, frame)
        names = [self.frames.classes[label] for label in found.labels]
        numbers = np.column_stack((alpha, image, camera[:, [3, 4, 5, 0, 1, 2, 6]], found.scores))
        return [f"{name} -1 -1 {' '.join(f'{value:.4f}' for value in row)}" for name, row in zip(names, numbers)]


def _camera_boxes(boxes: np.ndarray, frame: Frame) -> np.ndarray:
    camera_from_sensor = torch.from_numpy(np.asarray(frame.extra["camera_from_sensor"], dtype=np.float64))
    return to_kitti_camera(torch.from_numpy(boxes[:, :7]), camera_from_sensor).numpy()


def image_boxes(boxes: np.ndarray, frame: Frame) -> np.ndarray:
    """Left, top, right, bottom [N, 4] in pixels of the projected corners, cut at the image's border."""
    if not len(boxes):
        return np.zeros((0, 4))
    extra = frame.extra
    corners = box_corners(torch.from_numpy(boxes[:, :7])).numpy()  # [N, 8, 3]
    homogeneous = np.concatenate((corners, np.ones((*corners.shape[:2], 1))), axis=2)
    camera = homogeneous @ np.asarray(extra["camera_from_sensor"]).T
    pixels = camera @ np.asarray(extra["image_from_camera"]).T  # [N, 8, 3]
    pixels = pixels[..., :2] / pixels[..., 2:]
    border = np.array([extra["image_width"], extra["image_height"]], dtype=np.float64) - 1
    low, high = pixels.min(axis=1), pixels.max(axis=1)
    return np.concatenate((np.clip(low, 0, border), np.clip(high, 0, border)), axis=1)


def _truth(frame: Frame) -> KittiBoxes:
    extra = frame.box_extra
    return KittiBoxes(
        frame.boxes[:, :7],
        np.array(CATEGORIES)[extra["category"]],
        extra["box_2d"][:, 3] - extra["box_2d"][:, 1],
        occlusion=extra["occlusion"],
        truncation=extra["truncation"],
    )
