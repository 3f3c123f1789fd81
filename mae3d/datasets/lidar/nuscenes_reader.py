"""Makes the frame index of nuScenes from its official JSON tables.

Frame of reference: ours, x ahead, y left. The files' lidar frame has x right and y ahead, so points, boxes and poses
are turned by 90 degrees about z.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.nuscenes_records import Record, SceneRecords, load_scenes, look_up
from mae3d.datasets.lidar.nuscenes_tables import ATTRIBUTES, CATEGORY_TO_CLASS, CLASSES, scene_names
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import DataError
from mae3d.structures.box_conventions import quaternion_matrix

FILE_FROM_OURS = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""Turns our axes (x ahead) into those of the files (y ahead)."""

MAX_SWEEPS = 10
MAX_VELOCITY_GAP = 1.5  # seconds between annotations that give a velocity
_VERSIONS = {"train": "v1.0-trainval", "val": "v1.0-trainval", "test": "v1.0-test"}


def version_of(split: str) -> str:
    """Folder of the JSON tables of a split."""
    return _VERSIONS.get(split, "v1.0-mini")


def read_nuscenes(
    root: str | Path, split: str, *, max_sweeps: int = MAX_SWEEPS, workers: int = 0, progress: Progress | None = None
) -> FrameIndex:
    """Index of the key frames of a split.

    ``extra`` holds the vehicle's place in the world (ego_x, ego_y, ego_z) and ego_from_sensor [4, 4].

    Args:
        root: Folder that holds ``samples/``, ``sweeps/`` and the version folders.
        split: "train", "val", "test", "mini_train" or "mini_val".
        max_sweeps: Point files of a frame that are indexed, the frame's own included.
        workers: Processes, once the tables are read.
        progress: Told after each scene.

    Raises:
        ConfigError: an unknown split.
        DataError: a missing or damaged table, or a split of which no scene is there.
    """
    root, names = Path(root), scene_names(split)
    scenes = load_scenes(root / version_of(split), set(names), split)
    drives = run_parallel(partial(_scene_frames, max_sweeps), scenes, workers=workers, progress=progress)
    return FrameIndex.from_frames("nuscenes", CLASSES, [frame for drive in drives for frame in drive])


def _scene_frames(max_sweeps: int, records: SceneRecords) -> list[Frame]:
    return _SceneReader(records, max_sweeps).frames()


class _SceneReader:
    def __init__(self, records: SceneRecords, max_sweeps: int) -> None:
        self.records = records
        self.max_sweeps = max_sweeps
        self.times = {sample["token"]: sample["timestamp"] * 1e-6 for sample in records.samples}
        self.pose_cache: dict[str, np.ndarray] = {}

    def frames(self) -> list[Frame]:
        return [self._frame(sample) for sample in self.records.samples]

    def _frame(self, sample: Record) -> Frame:
        data = self.records.key_data.get(sample["token"])
        if data is None:
            raise DataError(f"nuScenes: sample {sample['token']} of {self.records.name} has no LIDAR_TOP key frame")
        world_from_sensor = self._pose(data)
        sensor_from_world = np.linalg.inv(world_from_sensor)
        files, matrices, lags = [], [], []
        previous = data["prev"]
        while previous and len(files) < self.max_sweeps - 1:
            sweep = look_up(self.records.sample_data, "sample_data", previous)
            files.append(sweep["filename"])
            matrices.append(sensor_from_world @ self._pose(sweep))
            lags.append((data["timestamp"] - sweep["timestamp"]) * 1e-6)
            previous = sweep["prev"]
        return Frame(
            token=sample["token"],
            sequence=self.records.name,
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
            ego = _matrix(self.records.ego_pose[data["ego_pose_token"]])
            self.pose_cache[data["token"]] = ego @ self._mount(data)
        return self.pose_cache[data["token"]]

    def _mount(self, data: Record) -> np.ndarray:
        """Vehicle from our lidar axes, [4, 4]."""
        return _matrix(self.records.calibrated_sensor[data["calibrated_sensor_token"]]) @ FILE_FROM_OURS

    def _ego(self, data: Record) -> dict[str, float | np.ndarray]:
        x, y, z = self.records.ego_pose[data["ego_pose_token"]]["translation"]
        return {"ego_x": float(x), "ego_y": float(y), "ego_z": float(z), "ego_from_sensor": self._mount(data)}

    def _boxes(self, sample: Record, sensor_from_world: np.ndarray) -> dict[str, Any]:
        """Annotations of the benchmark's classes, and bicycle racks (label -1), which the metric needs."""
        rows, labels, points, tracks, attributes = [], [], [], [], []
        for record in self.records.annotations.get(sample["token"], ()):
            category = self.records.category[record["instance_token"]]
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
        tokens = record["attribute_tokens"]
        return ATTRIBUTES.index(self.records.attribute[tokens[0]]) if tokens else -1

    def _velocity(self, record: Record) -> Sequence[float]:
        """World velocity from the neighbouring annotations, as the devkit computes it; NaN where there is none."""
        table = self.records.sample_annotation
        first = look_up(table, "sample_annotation", record["prev"]) if record["prev"] else record
        last = look_up(table, "sample_annotation", record["next"]) if record["next"] else record
        times = [self.times[r["sample_token"]] for r in (first, last)]
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
