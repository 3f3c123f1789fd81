"""Frame indices as the info files of mmdet3d 1.4 (``info_version`` 1.1), for its NuScenesDataset and KittiDataset.

They hold what lidar detectors and the metrics of both data sets read; images of nuScenes, ground planes and the
object databases of ``ObjectSample`` are not among it. Writing them does not need mmdet3d.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.kitti_files import CATEGORIES
from mae3d.datasets.lidar.nuscenes_reader import FILE_FROM_OURS, version_of
from mae3d.errors import DataError
from mae3d.structures.box_conventions import to_kitti_camera
from mae3d.structures.boxes import transform_boxes

NUSCENES_CLASSES = (
    "car",
    "truck",
    "trailer",
    "bus",
    "construction_vehicle",
    "bicycle",
    "motorcycle",
    "pedestrian",
    "traffic_cone",
    "barrier",
)
KITTI_CLASSES = ("Pedestrian", "Cyclist", "Car", "Van", "Truck", "Person_sitting", "Tram", "Misc")
"""Order of the labels in mmdet3d's files."""
Info = dict[str, Any]


def nuscenes_infos(index: FrameIndex, split: str) -> Info:
    """Content of ``nuscenes_infos_<split>.pkl``.

    Our index counts lidar and radar points together: all are written as ``num_lidar_pts``. ``use_valid_flag=True``
    keeps the same boxes either way.

    Args:
        index: Of nuScenes.
        split: "train", "mini_val", ...: gives the name of the version folder, as in mmdet3d's files.

    Raises:
        DataError: An index made before it held the lidar's place on the vehicle.
    """
    if "ego_from_sensor" not in index.extra:
        raise DataError(
            f"index of nuScenes {split}: made by an older version, without the lidar's place on the vehicle "
            "(ego_from_sensor). Make it again: tools/prepare_data.py nuscenes --rebuild"
        )
    labels = np.array([NUSCENES_CLASSES.index(name) for name in index.classes])
    frames = [_nuscenes_frame(number, index.frame(number), labels) for number in range(len(index))]
    return _content("nuscenes", NUSCENES_CLASSES, frames, version=version_of(split))


def _nuscenes_frame(number: int, frame: Frame, labels: np.ndarray) -> Info:
    ours_from_file = FILE_FROM_OURS.T
    ego_from_file = frame.extra["ego_from_sensor"] @ ours_from_file
    world_from_file = frame.world_from_sensor @ ours_from_file
    # The pose moves a sweep into this frame; the files hold its inverse.
    file_from_sweep = FILE_FROM_OURS @ frame.sensor_from_sweep @ ours_from_file
    boxes = transform_boxes(torch.from_numpy(frame.boxes), torch.from_numpy(FILE_FROM_OURS)).numpy()
    sweeps = [
        {
            "timestamp": frame.time - lag,
            "lidar_points": {"lidar_path": file, "lidar2sensor": np.linalg.inv(matrix).tolist()},
        }
        for file, matrix, lag in zip(frame.sweep_files, file_from_sweep, frame.sweep_lag)
    ]
    return {
        "sample_idx": number,
        "token": frame.token,
        "timestamp": frame.time,
        "ego2global": (world_from_file @ np.linalg.inv(ego_from_file)).tolist(),
        "lidar_points": {
            "num_pts_feats": 5,
            "lidar_path": Path(frame.file).name,
            "lidar2ego": ego_from_file.tolist(),
        },
        # Where a drive begins there is no such key: what ``pad_empty_sweeps`` looks for.
        **({"lidar_sweeps": sweeps} if sweeps else {}),
        "instances": [
            {
                "bbox_3d": box[:7].tolist(),
                "velocity": box[7:9].tolist(),
                "bbox_label": label,
                "bbox_label_3d": label,
                "num_lidar_pts": int(count),
                "num_radar_pts": 0,
                "bbox_3d_isvalid": bool(count > 0),
            }
            for box, label, count in zip(boxes, _relabel(frame.labels, labels), frame.num_points)
        ],
    }


def _relabel(labels: np.ndarray, table: np.ndarray) -> list[int]:
    """Our labels in mmdet3d's numbers; -1 stays."""
    return [int(table[label]) if label >= 0 else -1 for label in labels]


def kitti_infos(index: FrameIndex, split: str) -> Info:
    """Content of ``kitti_infos_<split>.pkl``; ``split`` is a name alone.

    Difficulties are those of the index (the benchmark's, with pixels counted to the end of a box); mmdet3d's own files
    count a pixel less. Points are those of ``velodyne/``: give the data set ``data_prefix=dict(pts=
    "training/velodyne")``.
    """
    frames = [_kitti_frame(index.frame(number)) for number in range(len(index))]
    return _content("kitti", KITTI_CLASSES, frames, ignored=("DontCare",))


def _kitti_frame(frame: Frame) -> Info:
    cam2img = np.eye(4)
    cam2img[:3] = frame.extra["image_from_camera"]
    lidar2cam = frame.extra["camera_from_sensor"]
    info = {
        "sample_idx": int(frame.token),
        "images": {
            "CAM2": {
                "img_path": f"{frame.token}.png",
                "height": int(frame.extra["image_height"]),
                "width": int(frame.extra["image_width"]),
                "cam2img": cam2img.tolist(),
                "lidar2cam": lidar2cam.tolist(),
                "lidar2img": (cam2img @ lidar2cam).tolist(),
            }
        },
        "lidar_points": {"num_pts_feats": 4, "lidar_path": Path(frame.file).name},
    }
    return info if frame.file.startswith("testing/") else {**info, "instances": _kitti_instances(frame, cam2img)}


def _kitti_instances(frame: Frame, cam2img: np.ndarray) -> list[Info]:
    if not len(frame.boxes):
        return []
    matrix = torch.from_numpy(frame.extra["camera_from_sensor"])
    camera = to_kitti_camera(torch.from_numpy(frame.boxes[:, :7]), matrix).numpy()
    camera[camera[:, 3] == 0, 3:6] = -1  # regions that are not labelled
    centres = camera[:, :3] - np.outer(camera[:, 3] / 2, (0, 1, 0))
    x, y, depth, _ = cam2img @ np.column_stack((centres, np.ones(len(centres)))).T
    extra = frame.box_extra
    instances = []
    for row, box in enumerate(camera):
        name = CATEGORIES[extra["category"][row]]
        label = KITTI_CLASSES.index(name) if name in KITTI_CLASSES else -1
        instances.append(
            {
                "bbox": extra["box_2d"][row].tolist(),
                "bbox_label": label,
                "bbox_label_3d": label,
                "bbox_3d": box[[0, 1, 2, 5, 3, 4, 6]].tolist(),  # l h w
                "center_2d": [float(x[row] / depth[row]), float(y[row] / depth[row])],
                "depth": float(depth[row]),
                "truncated": float(extra["truncation"][row]),
                "occluded": int(extra["occlusion"][row]),
                "alpha": float(extra["alpha"][row]),
                "score": 0.0,
                "index": row if label >= 0 else -1,
                "group_id": row,
                "difficulty": int(extra["difficulty"][row]),
                "num_lidar_pts": int(frame.num_points[row]),
            }
        )
    return instances


def _content(
    dataset: str, classes: tuple[str, ...], frames: list[Info], ignored: tuple[str, ...] = (), **notes: str
) -> Info:
    categories = {name: number for number, name in enumerate(classes)} | dict.fromkeys(ignored, -1)
    metainfo = {"categories": categories, "dataset": dataset, "info_version": "1.1", **notes}
    return {"metainfo": metainfo, "data_list": frames}


WRITERS: dict[str, Callable[[FrameIndex, str], Info]] = {"nuscenes": nuscenes_infos, "kitti": kitti_infos}
"""Data set -> its info file out of an index."""
