"""Reads the info files that OpenPCDet and mmdet3d 1.x make of KITTI (``kitti_infos_*.pkl``), without running them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.array_pickle import load_array_pickle
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.kitti_files import CATEGORIES, KittiCalibration, KittiLabels
from mae3d.datasets.lidar.kitti_reader import CLASSES, make_frame
from mae3d.errors import DataError

_HINT = "Expected an info file of OpenPCDet or mmdet3d 1.x for KITTI."


def read_kitti_infos(path: str | Path) -> FrameIndex:
    """Index of the frames of an info file; frames without annotations are taken for test frames.

    Raises:
        DataError: a missing, damaged or dangerous file, or one of another kind; names the frame and the field.
    """
    path = Path(path)
    infos, read = load_array_pickle(path, _HINT), _frame
    if isinstance(infos, dict) and "data_list" in infos:
        names = {number: name for name, number in infos.get("metainfo", {}).get("categories", {}).items()}
        infos, read = infos["data_list"], lambda info: _mmdet3d(info, names)
    if not isinstance(infos, list):
        raise DataError(f"{path}: holds a {type(infos).__name__}, not a list of infos. {_HINT}")
    frames = []
    for number, info in enumerate(infos):
        try:
            frames.append(read(info))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"{path}: info {number}: {type(error).__name__}: {error}. {_HINT}") from error
    return FrameIndex.from_frames("kitti", CLASSES, frames)


def _frame(info: dict[str, Any]) -> Frame:
    stored = info["calib"]
    rectified = np.asarray(stored["R0_rect"], dtype=np.float64) @ np.asarray(stored["Tr_velo_to_cam"], np.float64)
    calibration = KittiCalibration(np.asarray(stored["P2"], dtype=np.float64)[:3], rectified)
    number = str(info["point_cloud"]["lidar_idx"])
    size = tuple(int(value) for value in info["image"]["image_shape"])
    if "annos" not in info:
        return make_frame(number, f"testing/velodyne/{number}.bin", calibration, size, None)
    annotations = info["annos"]
    frame = make_frame(number, f"training/velodyne/{number}.bin", calibration, size, _labels(annotations))
    if "num_points_in_gt" not in annotations:
        return frame
    return replace(frame, num_points=np.asarray(annotations["num_points_in_gt"], dtype=np.int64))


def _labels(annotations: dict[str, Any]) -> KittiLabels:
    length, height, width = np.asarray(annotations["dimensions"], dtype=np.float64).reshape(-1, 3).T
    location = np.asarray(annotations["location"], dtype=np.float64).reshape(-1, 3)
    turn = np.asarray(annotations["rotation_y"], dtype=np.float64)
    return KittiLabels(
        category=np.array([CATEGORIES.index(str(name)) for name in annotations["name"]], dtype=np.int64),
        truncation=np.asarray(annotations["truncated"], dtype=np.float64),
        occlusion=np.asarray(annotations["occluded"]).astype(np.int64),
        alpha=np.asarray(annotations["alpha"], dtype=np.float64),
        box_2d=np.asarray(annotations["bbox"], dtype=np.float64).reshape(-1, 4),
        camera_boxes=np.column_stack((location, height, width, length, turn)),
    )


def _mmdet3d(info: dict[str, Any], names: dict[int, str]) -> Frame:
    image, number = info["images"]["CAM2"], f"{int(info['sample_idx']):06d}"
    calibration = KittiCalibration(
        np.asarray(image["cam2img"], dtype=np.float64)[:3], np.asarray(image["lidar2cam"], dtype=np.float64)
    )
    size = (int(image["height"]), int(image["width"]))
    if "instances" not in info:
        return make_frame(number, f"testing/velodyne/{number}.bin", calibration, size, None)
    objects = info["instances"]
    column = lambda key: np.array([entry[key] for entry in objects], dtype=np.float64)  # noqa: E731
    x, y, z, length, height, width, turn = column("bbox_3d").reshape(-1, 7).T
    labels = KittiLabels(
        category=np.array([CATEGORIES.index(names[entry["bbox_label_3d"]]) for entry in objects], dtype=np.int64),
        truncation=column("truncated"),
        occlusion=column("occluded").astype(np.int64),
        alpha=column("alpha"),
        box_2d=column("bbox").reshape(-1, 4),
        camera_boxes=np.column_stack((x, y, z, height, width, length, turn)),
    )
    frame = make_frame(number, f"training/velodyne/{number}.bin", calibration, size, labels)
    return replace(frame, num_points=column("num_lidar_pts").astype(np.int64))
