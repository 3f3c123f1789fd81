"""Makes the frame index of nuScenes from its official JSON tables.

Frame of reference: ours, x ahead, y left. The files' lidar frame has x right and y ahead, so points, boxes and poses
are turned by 90 degrees about z.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae3d.datasets.files import require_file
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.nuscenes_tables import ATTRIBUTES, CATEGORY_TO_CLASS, CLASSES, TABLES, scene_names
from mae3d.errors import DataError
from mae3d.structures.box_conventions import quaternion_matrix

FILE_FROM_OURS = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""Turns our axes (x ahead) into those of the files (y ahead)."""

MAX_SWEEPS = 10
MAX_VELOCITY_GAP = 1.5  # seconds between annotations that give a velocity
_VERSIONS = {"train": "v1.0-trainval", "val": "v1.0-trainval", "test": "v1.0-test"}
Record = dict[str, Any]


def version_of(split: str) -> str:
    """Folder of the JSON tables of a split."""
    return _VERSIONS.get(split, "v1.0-mini")


def read_nuscenes(root: str | Path, split: str, *, max_sweeps: int = MAX_SWEEPS) -> FrameIndex:
    """Index of the key frames of a split.

    ``extra`` holds the vehicle's place in the world (ego_x, ego_y, ego_z) and ego_from_sensor [4, 4].

    Args:
        root: Folder that holds ``samples/``, ``sweeps/`` and the version folders.
        split: "train", "val", "test", "mini_train" or "mini_val".
        max_sweeps: Point files of a frame that are indexed, the frame's own included.

    Raises:
        DataError: a missing or damaged table, or a split of which no scene is there.
    """
    root = Path(root)
    version = version_of(split)
    tables = _read_tables(root / version)
    wanted = set(scene_names(split))
    scenes = [scene for scene in tables["scene"].values() if scene["name"] in wanted]
    if not scenes:
        raise DataError(f"{root / version}: none of the {len(wanted)} scenes of split '{split}' is in scene.json")
    reader = _Reader(tables, max_sweeps)
    frames = [frame for scene in sorted(scenes, key=lambda s: s["name"]) for frame in reader.scene(scene)]
    return FrameIndex.from_frames("nuscenes", CLASSES, frames)


def _read_tables(folder: Path) -> dict[str, dict[str, Record]]:
    if not folder.is_dir():
        there = sorted(p.name for p in folder.parent.glob("v1.0-*"))
        raise DataError(f"{folder}: no such folder; {folder.parent} holds the versions {there or 'none'}")
    tables = {}
    for name in TABLES:
        path = require_file(folder / f"{name}.json", "Unpack the metadata archive of nuScenes again.")
        try:
            tables[name] = {record["token"]: record for record in json.loads(path.read_bytes())}
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: not a table of records with a 'token' ({error})") from error
    return tables


class _Reader:
    def __init__(self, tables: dict[str, dict[str, Record]], max_sweeps: int) -> None:
        self.tables = tables
        self.max_sweeps = max_sweeps
        lidar = {t for t, s in tables["sensor"].items() if s["channel"] == "LIDAR_TOP"}
        self.calibrations = {t for t, c in tables["calibrated_sensor"].items() if c["sensor_token"] in lidar}
        self.key_data = {
            record["sample_token"]: record
            for record in tables["sample_data"].values()
            if record["is_key_frame"] and record["calibrated_sensor_token"] in self.calibrations
        }
        self.annotations: dict[str, list[Record]] = defaultdict(list)
        for record in tables["sample_annotation"].values():
            self.annotations[record["sample_token"]].append(record)
        self.category_of = {
            token: tables["category"][record["category_token"]]["name"] for token, record in tables["instance"].items()
        }
        self.pose_cache: dict[str, np.ndarray] = {}

    def scene(self, scene: Record) -> list[Frame]:
        frames, token = [], scene["first_sample_token"]
        while token:
            sample = self._get("sample", token)
            frames.append(self._frame(scene, sample))
            token = sample["next"]
        return frames

    def _get(self, table: str, token: str) -> Record:
        try:
            return self.tables[table][token]
        except KeyError:
            raise DataError(f"nuScenes: {table}.json has no record {token!r}, which another table refers to") from None

    def _frame(self, scene: Record, sample: Record) -> Frame:
        data = self.key_data.get(sample["token"])
        if data is None:
            raise DataError(f"nuScenes: sample {sample['token']} of {scene['name']} has no LIDAR_TOP key frame")
        world_from_sensor = self._pose(data)
        sensor_from_world = np.linalg.inv(world_from_sensor)
        files, matrices, lags = [], [], []
        previous = data["prev"]
        while previous and len(files) < self.max_sweeps - 1:
            sweep = self._get("sample_data", previous)
            files.append(sweep["filename"])
            matrices.append(sensor_from_world @ self._pose(sweep))
            lags.append((data["timestamp"] - sweep["timestamp"]) * 1e-6)
            previous = sweep["prev"]
        return Frame(
            token=sample["token"],
            sequence=scene["name"],
            file=data["filename"],
            time=data["timestamp"] * 1e-6,
            world_from_sensor=world_from_sensor,
            sweep_files=files,
            sensor_from_sweep=np.array(matrices).reshape(-1, 4, 4),
            sweep_lag=np.array(lags),
            **self._boxes(sample, sensor_from_world),
            extra=self._ego(data),
        )

    def _pose(self, data: Record) -> np.ndarray:
        """World from our lidar axes, [4, 4]."""
        if data["token"] not in self.pose_cache:
            ego = _matrix(self._get("ego_pose", data["ego_pose_token"]))
            self.pose_cache[data["token"]] = ego @ self._mount(data)
        return self.pose_cache[data["token"]]

    def _mount(self, data: Record) -> np.ndarray:
        """Vehicle from our lidar axes, [4, 4]."""
        return _matrix(self._get("calibrated_sensor", data["calibrated_sensor_token"])) @ FILE_FROM_OURS

    def _ego(self, data: Record) -> dict[str, float | np.ndarray]:
        x, y, z = self._get("ego_pose", data["ego_pose_token"])["translation"]
        return {"ego_x": float(x), "ego_y": float(y), "ego_z": float(z), "ego_from_sensor": self._mount(data)}

    def _boxes(self, sample: Record, sensor_from_world: np.ndarray) -> dict[str, Any]:
        """Annotations of the benchmark's classes, and bicycle racks (label -1), which the metric needs."""
        rows, labels, points, tracks, attributes = [], [], [], [], []
        for record in self.annotations[sample["token"]]:
            category = self.category_of[record["instance_token"]]
            name = CATEGORY_TO_CLASS.get(category)
            if name is None and category != "static_object.bicycle_rack":
                continue
            width, length, height = record["size"]
            rows.append([*record["translation"], length, width, height, *record["rotation"], *self._velocity(record)])
            labels.append(-1 if name is None else CLASSES.index(name))
            points.append(record["num_lidar_pts"] + record["num_radar_pts"])
            tracks.append(record["instance_token"])
            attributes.append(self._attribute(record))
        return {
            "boxes": _to_sensor(np.array(rows, dtype=np.float64).reshape(-1, 12), sensor_from_world),
            "labels": np.array(labels, dtype=np.int64),
            "num_points": np.array(points, dtype=np.int64),
            "tracks": tracks,
            "box_extra": {"attribute": np.array(attributes, dtype=np.int64)},
        }

    def _attribute(self, record: Record) -> int:
        names = [self._get("attribute", token)["name"] for token in record["attribute_tokens"]]
        return ATTRIBUTES.index(names[0]) if names else -1

    def _velocity(self, record: Record) -> Sequence[float]:
        """World velocity from the neighbouring annotations, as the devkit computes it; NaN where there is none."""
        first = self._get("sample_annotation", record["prev"]) if record["prev"] else record
        last = self._get("sample_annotation", record["next"]) if record["next"] else record
        times = [self._get("sample", r["sample_token"])["timestamp"] * 1e-6 for r in (first, last)]
        elapsed = times[1] - times[0]
        allowed = MAX_VELOCITY_GAP * (2 if record["prev"] and record["next"] else 1)
        if first is last or not 0 < elapsed <= allowed:
            return np.nan, np.nan
        moved = np.subtract(last["translation"], first["translation"])
        return moved[0] / elapsed, moved[1] / elapsed


def _matrix(record: Record) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = quaternion_matrix(torch.tensor(record["rotation"], dtype=torch.float64)).numpy()
    matrix[:3, 3] = record["translation"]
    return matrix


def _to_sensor(rows: np.ndarray, sensor_from_world: np.ndarray) -> np.ndarray:
    """World rows (centre, l w h, quaternion, velocity) -> boxes [N, 9] in the sensor frame."""
    rotation = sensor_from_world[:3, :3]
    boxes = np.empty((len(rows), 9))
    boxes[:, :3] = rows[:, :3] @ rotation.T + sensor_from_world[:3, 3]
    boxes[:, 3:6] = rows[:, 3:6]
    ahead = quaternion_matrix(torch.from_numpy(rows[:, 6:10])).numpy()[:, :, 0] @ rotation.T
    boxes[:, 6] = np.arctan2(ahead[:, 1], ahead[:, 0])
    velocity = np.column_stack((rows[:, 10:12], np.zeros(len(rows))))
    boxes[:, 7:9] = (velocity @ rotation.T)[:, :2]
    return boxes
