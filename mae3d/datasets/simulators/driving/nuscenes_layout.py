"""Writes simulated drives as a complete nuScenes version folder: JSON tables and ``.pcd.bin`` sweeps.

The official devkit reads it. One lidar at 20 Hz, key frames at 2 Hz, no cameras.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mae3d.datasets.files import atomic_write
from mae3d.datasets.lidar.nuscenes_tables import ATTRIBUTES, TABLES, scene_names
from mae3d.datasets.parallel import ProgressLine, run_parallel
from mae3d.datasets.simulators.claim import claim_folder
from mae3d.datasets.simulators.driving.scene import Agent, build_scene
from mae3d.datasets.simulators.driving.sensors import HDL_32E
from mae3d.datasets.simulators.driving.simulate import Sweep, planar_pose, record
from mae3d.errors import ConfigError

SWEEPS_PER_KEY_FRAME = 10
ANNOTATION_RANGE = 80.0
SENSOR_AHEAD = 0.943713  # of the rear axle, metres: the lidar of the recording cars
CLASS_TO_CATEGORY = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "construction_vehicle": "vehicle.construction",
    "pedestrian": "human.pedestrian.adult",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "traffic_cone": "movable_object.trafficcone",
    "barrier": "movable_object.barrier",
}
_FIRST_TIME = 1_530_000_000_000_000  # microseconds
Record = dict[str, Any]


@dataclass(frozen=True)
class NuScenesPlan:
    """What to simulate.

    Attributes:
        root: Folder that holds ``samples/``, ``sweeps/`` and the version folder.
        train_scenes: Number of training scenes.
        val_scenes: Number of validation scenes.
        key_frames: Key frames of a scene; real scenes have about 40.
        seed: Seed of everything.
        sweeps: Sweeps written of the 10 up to each key frame, the key frame included; fewer are quicker and smaller,
            and what is written is the same.
        motion_distortion: See :func:`record`.
        version: Chosen from the counts: "v1.0-mini" holds up to 8 + 2 scenes, "v1.0-trainval" up to 700 + 150.
    """

    root: Path
    train_scenes: int
    val_scenes: int
    key_frames: int = 20
    seed: int = 0
    sweeps: int = SWEEPS_PER_KEY_FRAME
    motion_distortion: bool = False
    version: str = field(init=False)

    def __post_init__(self) -> None:
        mini = self.train_scenes <= 8 and self.val_scenes <= 2
        object.__setattr__(self, "version", "v1.0-mini" if mini else "v1.0-trainval")
        if not (1 <= self.train_scenes <= 700 and 1 <= self.val_scenes <= 150 and self.key_frames >= 1):
            raise ConfigError(
                "simulated nuScenes needs 1..700 training scenes, 1..150 validation scenes and at least one key frame, "
                f"got {self.train_scenes}, {self.val_scenes}, {self.key_frames}"
            )
        if not 1 <= self.sweeps <= SWEEPS_PER_KEY_FRAME:
            raise ConfigError(f"simulated nuScenes writes 1..{SWEEPS_PER_KEY_FRAME} sweeps a frame, not {self.sweeps}")

    @property
    def scenes(self) -> list[str]:
        """Official names of the simulated scenes."""
        train, val = ("mini_train", "mini_val") if self.version == "v1.0-mini" else ("train", "val")
        return scene_names(train)[: self.train_scenes] + scene_names(val)[: self.val_scenes]


def write_nuscenes(plan: NuScenesPlan, *, workers: int = 0) -> Path:
    """Simulate all scenes and write the data set; returns the version folder.

    The tables are written last: where they are there, a simulation of the same plan is finished and kept.

    Raises:
        DataError: The folder holds other data, see :func:`claim_folder`.
    """
    counts = {"train": plan.train_scenes, "val": plan.val_scenes, "key_frames": plan.key_frames}
    settings = {"layout": "nuscenes", **counts, "seed": plan.seed, "sweeps": plan.sweeps}
    claim_folder(plan.root, settings | ({"motion_distortion": True} if plan.motion_distortion else {}))
    folder = plan.root / plan.version
    if all((folder / f"{name}.json").is_file() for name in TABLES):
        return folder
    tasks = [(plan, number, name) for number, name in enumerate(plan.scenes)]
    parts = run_parallel(_write_scene, tasks, workers=workers, progress=ProgressLine("scenes"))
    tables: dict[str, list[Record]] = _constant_tables(plan)
    for part in parts:
        for name, records in part.items():
            tables[name] += records
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        _write(folder / f"{name}.json", json.dumps(tables[name], indent=0).encode())
    return folder


def _token(*parts: object) -> str:
    return hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).hexdigest()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(data)


def _quaternion(yaw: float) -> list[float]:
    return [float(np.cos(yaw / 2)), 0.0, 0.0, float(np.sin(yaw / 2))]


def _constant_tables(plan: NuScenesPlan) -> dict[str, list[Record]]:
    tables: dict[str, list[Record]] = {name: [] for name in TABLES}
    tables["category"] = [
        {"token": _token("category", name), "name": name, "description": "", "index": index}
        for index, name in enumerate(CLASS_TO_CATEGORY.values(), start=1)
    ]
    tables["attribute"] = [{"token": _token("attribute", name), "name": name, "description": ""} for name in ATTRIBUTES]
    levels = ("v0-40", "v40-60", "v60-80", "v80-100")
    tables["visibility"] = [
        {"token": str(number), "level": level, "description": ""} for number, level in enumerate(levels, start=1)
    ]
    tables["sensor"] = [{"token": _token("sensor"), "channel": "LIDAR_TOP", "modality": "lidar"}]
    tables["calibrated_sensor"] = [
        {
            "token": _token("calibrated_sensor"),
            "sensor_token": _token("sensor"),
            "translation": [SENSOR_AHEAD, 0.0, HDL_32E.height],
            "rotation": _quaternion(-np.pi / 2),  # the sensor's y axis looks ahead
            "camera_intrinsic": [],
        }
    ]
    map_file = f"maps/{_token('map')}.png"
    tables["map"] = [
        {
            "token": _token("map"),
            "log_tokens": [_token("log", name) for name in plan.scenes],
            "category": "semantic_prior",
            "filename": map_file,
        }
    ]
    _write_blank_map(plan.root / map_file)
    return tables


def _write_blank_map(path: Path) -> None:
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, format="PNG")
    _write(path, buffer.getvalue())


def _write_scene(task: tuple[NuScenesPlan, int, str]) -> dict[str, list[Record]]:
    plan, number, name = task
    seed = plan.seed * 1_000_003 + number
    count = (plan.key_frames - 1) * SWEEPS_PER_KEY_FRAME + 1
    duration = count / HDL_32E.rate_hz
    scene = build_scene(seed, duration)
    rng = np.random.default_rng((seed, 1))
    # Somewhere on the map of the city, at any heading.
    global_from_street = planar_pose(rng.uniform(300, 1500), rng.uniform(300, 1500), rng.uniform(-np.pi, np.pi))
    builder = _SceneBuilder(plan, number, name, global_from_street)
    written = [index for index in range(count) if -index % SWEEPS_PER_KEY_FRAME < plan.sweeps]
    for index, sweep in zip(written, record(scene, HDL_32E, written, seed, motion_distortion=plan.motion_distortion)):
        builder.add(index, sweep, scene.agents)
    return builder.finish()


class _SceneBuilder:
    """Collects the records of one scene."""

    def __init__(self, plan: NuScenesPlan, number: int, name: str, global_from_street: np.ndarray) -> None:
        self.plan, self.name = plan, name
        self.start = _FIRST_TIME + number * 60_000_000
        self.global_from_street = global_from_street
        self.tables: dict[str, list[Record]] = {table: [] for table in TABLES}
        self.annotations: dict[int, list[Record]] = {}
        self.names: dict[int, str] = {}

    def add(self, index: int, sweep: Sweep, agents: list[Agent]) -> None:
        """Add sweep ``index``; every tenth is a key frame with annotations."""
        is_key = index % SWEEPS_PER_KEY_FRAME == 0
        time = self.start + round(sweep.time * 1e6)
        # A sweep belongs to the key frame that it leads to.
        sample = _token("sample", self.name, -(-index // SWEEPS_PER_KEY_FRAME))
        folder = "samples" if is_key else "sweeps"
        filename = f"{folder}/LIDAR_TOP/simulated-{self.name}__LIDAR_TOP__{time}.pcd.bin"
        self._write_points(self.plan.root / filename, sweep.points)
        self.tables["ego_pose"].append(self._ego_pose(index, time, sweep))
        self.tables["sample_data"].append(
            {
                "token": _token("sample_data", self.name, index),
                "sample_token": sample,
                "ego_pose_token": _token("ego_pose", self.name, index),
                "calibrated_sensor_token": _token("calibrated_sensor"),
                "timestamp": time,
                "fileformat": "pcd",
                "is_key_frame": is_key,
                "height": 0,
                "width": 0,
                "filename": filename,
                "prev": "",
                "next": "",
            }
        )
        if not is_key:
            return
        self.tables["sample"].append(
            {"token": sample, "timestamp": time, "prev": "", "next": "", "scene_token": _token("scene", self.name)}
        )
        for number, agent in enumerate(agents):
            if np.hypot(*sweep.boxes[number, :2]) < ANNOTATION_RANGE:
                self._annotate(number, agent, sweep, sample)

    def _write_points(self, path: Path, points: np.ndarray) -> None:
        turned = points[:, [1, 0, 2, 3, 4]].copy()  # the file's frame: x right, y ahead, z up
        turned[:, 0] *= -1
        _write(path, turned.astype("<f4").tobytes())

    def _ego_pose(self, index: int, time: int, sweep: Sweep) -> Record:
        back = planar_pose(-SENSOR_AHEAD, 0, 0, -HDL_32E.height)
        pose = self.global_from_street @ sweep.world_from_sensor @ back
        return {
            "token": _token("ego_pose", self.name, index),
            "timestamp": time,
            "rotation": _quaternion(float(np.arctan2(pose[1, 0], pose[0, 0]))),
            "translation": pose[:3, 3].tolist(),
        }

    def _annotate(self, number: int, agent: Agent, sweep: Sweep, sample: str) -> None:
        pose = self.global_from_street @ sweep.world_from_sensor
        box = sweep.boxes[number]
        centre = pose @ np.array([*box[:3], 1.0])
        length, width, height = box[3:6]
        points = int(sweep.num_points[number])
        self.names[number] = agent.name
        self.annotations.setdefault(number, []).append(
            {
                "token": _token("sample_annotation", self.name, number, sample),
                "sample_token": sample,
                "instance_token": _token("instance", self.name, number),
                "visibility_token": str(1 + min(3, points // 20)),
                "attribute_tokens": [_token("attribute", a) for a in attribute_of(agent)],
                "translation": centre[:3].tolist(),
                "size": [width, length, height],
                "rotation": _quaternion(float(box[6] + np.arctan2(pose[1, 0], pose[0, 0]))),
                "prev": "",
                "next": "",
                "num_lidar_pts": points,
                "num_radar_pts": 0,
            }
        )

    def finish(self) -> dict[str, list[Record]]:
        """Link the chains and return all records."""
        for number, chain in self.annotations.items():
            _link(chain)
            self.tables["sample_annotation"] += chain
            self.tables["instance"].append(
                {
                    "token": _token("instance", self.name, number),
                    "category_token": _token("category", CLASS_TO_CATEGORY[self.names[number]]),
                    "nbr_annotations": len(chain),
                    "first_annotation_token": chain[0]["token"],
                    "last_annotation_token": chain[-1]["token"],
                }
            )
        for table in ("sample", "sample_data"):
            _link(self.tables[table])
        samples = self.tables["sample"]
        self.tables["scene"].append(
            {
                "token": _token("scene", self.name),
                "log_token": _token("log", self.name),
                "nbr_samples": len(samples),
                "first_sample_token": samples[0]["token"],
                "last_sample_token": samples[-1]["token"],
                "name": self.name,
                "description": "simulated",
            }
        )
        self.tables["log"].append(
            {
                "token": _token("log", self.name),
                "logfile": f"simulated-{self.name}",
                "vehicle": "simulated",
                "date_captured": "2018-06-26",
                "location": "singapore-onenorth",
            }
        )
        return self.tables


def attribute_of(agent: Agent) -> list[str]:
    """The attribute that an annotator would give: at most one name."""
    moving = agent.speed > 0.2
    if agent.name in ("car", "truck", "bus", "trailer", "construction_vehicle"):
        return ["vehicle.moving" if moving else "vehicle.parked"]
    if agent.name == "pedestrian":
        return ["pedestrian.moving" if moving else "pedestrian.standing"]
    if agent.name in ("motorcycle", "bicycle"):
        return ["cycle.with_rider" if moving else "cycle.without_rider"]
    return []


def _link(chain: list[Record]) -> None:
    for before, after in itertools.pairwise(chain):
        before["next"], after["prev"] = after["token"], before["token"]
