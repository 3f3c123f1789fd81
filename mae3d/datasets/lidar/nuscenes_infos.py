"""Reads the info files that mmdet3d (0.x, 1.x) and OpenPCDet make of nuScenes, without running what they hold.

They lack what the JSON tables have: bicycle racks, attributes and scene names; the recording's name, which starts
every file name, stands for the scene. For official scores use the JSON tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae3d.datasets.array_pickle import load_array_pickle
from mae3d.datasets.files import require_file
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.nuscenes_reader import FILE_FROM_OURS
from mae3d.datasets.lidar.nuscenes_tables import CLASSES
from mae3d.errors import DataError
from mae3d.structures.box_conventions import from_mmdet3d_legacy, quaternion_matrix, to_mmdet3d
from mae3d.structures.boxes import transform_boxes

Info = dict[str, Any]
_HINT = "Expected an info file of mmdet3d or OpenPCDet for nuScenes."


def read_nuscenes_infos(path: str | Path, *, max_sweeps: int = 10) -> FrameIndex:
    """Index of the frames of an info file.

    Args:
        path: ``.pkl`` of mmdet3d 0.x (keys infos, metadata), mmdet3d 1.x (data_list, metainfo) or OpenPCDet (a list),
            or ``.json`` with one frame of mmdet3d 1.x.
        max_sweeps: Point files of a frame that are indexed, its own included.

    Raises:
        DataError: a missing, damaged or dangerous file, or one of another kind; names the frame and the field.
    """
    path = Path(path)
    frames = []
    for number, (reader, info) in enumerate(_infos(path)):
        try:
            frames.append(reader(info, max_sweeps))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"{path}: info {number}: {type(error).__name__}: {error}. {_HINT}") from error
    return FrameIndex.from_frames("nuscenes", CLASSES, frames)


def _infos(path: Path) -> list[tuple[Any, Info]]:
    if path.suffix == ".json":
        try:
            content = json.loads(require_file(path, _HINT).read_bytes())
        except ValueError as error:
            raise DataError(f"{path}: not a JSON file ({error}). {_HINT}") from error
        content = {"data_list": [content], "metainfo": content.get("metainfo", {})}
    else:
        content = load_array_pickle(path, _HINT)
    if isinstance(content, list):
        return [(_openpcdet, info) for info in content]
    if isinstance(content, dict) and "data_list" in content:
        names = content.get("metainfo", {}).get("categories", {name: i for i, name in enumerate(CLASSES)})
        numbers = {number: CLASSES.index(name) for name, number in names.items() if name in CLASSES}
        # Files of mmdet3d name a key frame without its folder; a single frame lies beside its file.
        folder = "" if path.suffix == ".json" else "samples/LIDAR_TOP/"
        return [(lambda info, sweeps: _mmdet3d(info, sweeps, numbers, folder), info) for info in content["data_list"]]
    if isinstance(content, dict) and "infos" in content:
        legacy = _is_legacy(content["infos"])
        return [(lambda info, sweeps: _mmdet3d_old(info, sweeps, legacy), info) for info in content["infos"]]
    kind = sorted(content) if isinstance(content, dict) else type(content).__name__
    raise DataError(f"{path}: unknown layout ({kind}). {_HINT}")


def _openpcdet(info: Info, max_sweeps: int) -> Frame:
    car_from_world = np.asarray(info["car_from_global"], dtype=np.float64)
    own = str(info["lidar_path"])
    sweeps, used = [], {own}
    for sweep in info["sweeps"]:
        # Where the drive begins, the list is filled up with copies.
        if sweep["transform_matrix"] is not None and str(sweep["lidar_path"]) not in used:
            used.add(str(sweep["lidar_path"]))
            sweeps.append((str(sweep["lidar_path"]), sweep["transform_matrix"], float(sweep["time_lag"])))
    names = info.get("gt_names", ())
    return _frame(
        token=info["token"],
        file=own,
        time=float(info["timestamp"]),
        world_from_ego=np.linalg.inv(car_from_world),
        ego_from_file=np.linalg.inv(np.asarray(info["ref_from_car"], dtype=np.float64)),
        sweeps=sweeps[: max_sweeps - 1],
        boxes=_rows(info.get("gt_boxes", ()), len(names)),
        labels=[_label(name) for name in names],
        counts=_counts(info, len(names)),
    )


def _mmdet3d_old(info: Info, max_sweeps: int, legacy: bool) -> Frame:
    sweeps = []
    for sweep in info["sweeps"][: max_sweeps - 1]:
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = sweep["sensor2lidar_rotation"], sweep["sensor2lidar_translation"]
        sweeps.append((_inside(sweep["data_path"]), matrix, (info["timestamp"] - sweep["timestamp"]) * 1e-6))
    names = info.get("gt_names", ())
    boxes = _rows(info.get("gt_boxes", ()), len(names))
    if legacy and len(boxes):
        # The stored centre is that of gravity, whatever the classes that load it say.
        boxes = to_mmdet3d(from_mmdet3d_legacy(torch.from_numpy(boxes))).numpy()
    return _frame(
        token=info["token"],
        file=_inside(info["lidar_path"]),
        time=info["timestamp"] * 1e-6,
        world_from_ego=_pose(info["ego2global_rotation"], info["ego2global_translation"]),
        ego_from_file=_pose(info["lidar2ego_rotation"], info["lidar2ego_translation"]),
        sweeps=sweeps,
        boxes=np.column_stack((boxes, _rows(info.get("gt_velocity", np.full((len(names), 2), np.nan)), len(names)))),
        labels=[_label(name) for name in names],
        counts=_counts(info, len(names)),
    )


def _mmdet3d(info: Info, max_sweeps: int, numbers: dict[int, int], folder: str) -> Frame:
    lidar = info["lidar_points"]
    sweeps = []
    for sweep in info.get("lidar_sweeps", [])[: max_sweeps - 1]:
        points = sweep["lidar_points"]
        matrix = np.linalg.inv(np.asarray(points["lidar2sensor"], dtype=np.float64))
        sweeps.append((_inside(points["lidar_path"]), matrix, float(info["timestamp"] - sweep["timestamp"])))
    objects = info.get("instances", [])
    rows = [[*o["bbox_3d"], *o.get("velocity", (np.nan, np.nan))] for o in objects]
    return _frame(
        token=info.get("token", Path(lidar["lidar_path"]).name),
        file=folder + Path(lidar["lidar_path"]).name,
        time=float(info["timestamp"]),
        world_from_ego=np.asarray(info["ego2global"], dtype=np.float64),
        ego_from_file=np.asarray(lidar["lidar2ego"], dtype=np.float64),
        sweeps=sweeps,
        boxes=_rows(rows, len(rows)) if rows else np.zeros((0, 9)),
        labels=[numbers.get(o["bbox_label_3d"], -1) for o in objects],
        counts=np.array([o["num_lidar_pts"] + o.get("num_radar_pts", 0) for o in objects], dtype=np.int64),
    )


def _frame(
    *,
    token: str,
    file: str,
    time: float,
    world_from_ego: np.ndarray,
    ego_from_file: np.ndarray,
    sweeps: Sequence[tuple[str, Any, float]],
    boxes: np.ndarray,
    labels: Sequence[int],
    counts: np.ndarray,
) -> Frame:
    """A frame out of poses, sweeps and boxes [N, 7 or 9] in the axes of the point files."""
    ours_from_file = np.linalg.inv(FILE_FROM_OURS)
    matrices = np.array([matrix for _, matrix, _ in sweeps], dtype=np.float64).reshape(-1, 4, 4)
    full = np.column_stack((boxes, np.full((len(boxes), max(0, 9 - boxes.shape[1])), np.nan)))
    return Frame(
        token=str(token),
        sequence=Path(file).name.split("__")[0],
        file=file,
        time=time,
        world_from_sensor=_orthonormal(world_from_ego @ ego_from_file @ FILE_FROM_OURS),
        sweep_files=[name for name, _, _ in sweeps],
        sensor_from_sweep=ours_from_file @ matrices @ FILE_FROM_OURS,
        sweep_lag=np.array([lag for _, _, lag in sweeps]),
        boxes=transform_boxes(torch.from_numpy(full), torch.from_numpy(ours_from_file)).numpy(),
        labels=np.array(labels, dtype=np.int64),
        num_points=counts,
        tracks=[str(row) for row in range(len(boxes))],
        box_extra={"attribute": np.full(len(boxes), -1)},
        extra={
            **dict(zip(("ego_x", "ego_y", "ego_z"), world_from_ego[:3, 3].tolist())),
            "ego_from_sensor": _orthonormal(ego_from_file @ FILE_FROM_OURS),
        },
    )


def _orthonormal(pose: np.ndarray) -> np.ndarray:
    """The pose without the rounding of its float32 factors."""
    u, _, v = np.linalg.svd(pose[:3, :3])
    exact = pose.copy()
    exact[:3, :3] = u @ v
    return exact


def _pose(rotation: Sequence[float], translation: Sequence[float]) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = quaternion_matrix(torch.tensor(np.asarray(rotation), dtype=torch.float64)).numpy()
    pose[:3, 3] = translation
    return pose


def _inside(path: str) -> str:
    """Path below the root of nuScenes: the files were made with paths of another machine."""
    for folder in ("samples", "sweeps"):
        _, found, tail = str(path).rpartition(f"{folder}/LIDAR_TOP/")
        if found:
            return found + tail
    return str(path)


def _rows(values: Any, count: int) -> np.ndarray:
    rows = np.asarray(values, dtype=np.float64)
    return rows.reshape(count, -1) if count else np.zeros((0, 7))


def _label(name: str) -> int:
    return CLASSES.index(name) if name in CLASSES else -1


def _counts(info: Info, count: int) -> np.ndarray:
    if "num_lidar_pts" not in info:
        return np.full(count, -1)
    return np.asarray(info["num_lidar_pts"], dtype=np.int64) + np.asarray(info["num_radar_pts"], dtype=np.int64)


def _is_legacy(infos: Sequence[Info]) -> bool:
    """Whether boxes are stored as w l h (mmdet3d before 1.0): cars are longer than they are wide."""
    for info in infos:
        cars = np.asarray(info.get("gt_names", ())) == "car"
        if cars.any():
            sizes = np.asarray(info["gt_boxes"])[cars, 3:5]
            return bool(np.median(sizes[:, 0]) < np.median(sizes[:, 1]))
    return False
