"""Writes simulated drives as ONCE lies on disk: ``data/SEQ/SEQ.json``, ``lidar_roof/FRAME.bin``, ``ImageSets``.

Two frames a second; annotated sequences for training and validation, and raw ones without boxes. No cameras.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import atomic_write
from mae3d.datasets.lidar.once_reader import FILE_FROM_OURS
from mae3d.datasets.parallel import ProgressLine, run_parallel
from mae3d.datasets.simulators.claim import claim_folder
from mae3d.datasets.simulators.driving.scene import Agent, build_scene
from mae3d.datasets.simulators.driving.sensors import PANDAR_40
from mae3d.datasets.simulators.driving.simulate import Sweep, planar_pose, record
from mae3d.errors import ConfigError

SECONDS_APART = 0.5
ANNOTATION_RANGE = 100.0
CLASS_TO_NAME = {
    "car": "Car",
    "bus": "Bus",
    "truck": "Truck",
    "trailer": "Truck",
    "construction_vehicle": "Truck",
    "pedestrian": "Pedestrian",
    "motorcycle": "Cyclist",
    "bicycle": "Cyclist",
}
"""Others (cones, barriers) are not annotated."""

_FIRST_TIME = 1_616_000_000_000  # milliseconds
_RAW = ("raw_small", "raw_medium", "raw_large")


@dataclass(frozen=True)
class OncePlan:
    """What to simulate.

    Attributes:
        root: Folder that holds ``ImageSets/`` and ``data/``.
        train: Number of annotated training sequences.
        val: Number of annotated validation sequences.
        raw: Number of raw sequences; all three raw splits name them.
        frames: Frames of a sequence.
        seed: Seed of everything.
        motion_distortion: See :func:`record`.
    """

    root: Path
    train: int
    val: int
    raw: int = 0
    frames: int = 20
    seed: int = 0
    motion_distortion: bool = False

    def __post_init__(self) -> None:
        if min(self.train, self.val, self.frames) < 1 or self.raw < 0:
            raise ConfigError(
                "simulated ONCE needs training and validation sequences of at least one frame, got "
                f"{self.train}, {self.val} of {self.frames} frames"
            )


def write_once(plan: OncePlan, *, workers: int = 0) -> Path:
    """Simulate all sequences and write them; an interrupted simulation goes on. Returns the root.

    Raises:
        DataError: the folder holds other data.
    """
    counts = {"train": plan.train, "val": plan.val, "raw": plan.raw, "frames": plan.frames}
    settings = {"layout": "once", **counts, "seed": plan.seed}
    claim_folder(plan.root, settings | ({"motion_distortion": True} if plan.motion_distortion else {}))
    names = [f"{number:06d}" for number in range(plan.train + plan.val + plan.raw)]
    run_parallel(
        partial(_write_sequence, plan), list(enumerate(names)), workers=workers, progress=ProgressLine("sequences")
    )
    raw = names[plan.train + plan.val :]
    splits = {"train": names[: plan.train], "val": names[plan.train : plan.train + plan.val]}
    for split, chosen in (splits | (dict.fromkeys(_RAW, raw) if raw else {})).items():
        _write(plan.root / "ImageSets" / f"{split}.txt", "".join(f"{name}\n" for name in chosen).encode())
    return plan.root


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path) as file:
        file.write(content)


def _write_sequence(plan: OncePlan, task: tuple[int, str]) -> None:
    number, name = task
    folder = plan.root / "data" / name
    if (folder / f"{name}.json").exists():  # written last
        return
    seed = plan.seed * 1_000_003 + number
    scene = build_scene(seed, plan.frames * SECONDS_APART)
    rng = np.random.default_rng((seed, 1))
    world_from_street = planar_pose(rng.uniform(-500, 500), rng.uniform(-500, 500), rng.uniform(-np.pi, np.pi))
    records = []
    for place in range(plan.frames):
        options = {"start": place * SECONDS_APART, "motion_distortion": plan.motion_distortion}
        sweep = next(record(scene, PANDAR_40, 1, seed * 10_007 + place, **options))
        frame = str(_FIRST_TIME + number * 1_000_000 + round(place * SECONDS_APART * 1000))
        _write(folder / "lidar_roof" / f"{frame}.bin", _points(sweep))
        entry = {"sequence_id": name, "frame_id": frame, "pose": _pose(world_from_street @ sweep.world_from_sensor)}
        if number < plan.train + plan.val:
            entry["annos"] = _annotations(sweep, scene.agents)
        records.append(entry)
    meta = {"weather": "simulated", "period": "simulated"}
    content = {"meta_info": meta, "calib": {}, "frames": records}
    _write(folder / f"{name}.json", json.dumps(content).encode())


def _points(sweep: Sweep) -> bytes:
    rows = sweep.points[:, :4].copy()
    rows[:, :3] = rows[:, :3] @ FILE_FROM_OURS[:3, :3].T
    return rows.astype("<f4").tobytes()


def _pose(world_from_sensor: np.ndarray) -> list[float]:
    """Quaternion x y z w and translation of the file's lidar axes; the street is flat."""
    matrix = world_from_sensor @ np.linalg.inv(FILE_FROM_OURS)
    yaw = np.arctan2(matrix[1, 0], matrix[0, 0])
    return [0.0, 0.0, float(np.sin(yaw / 2)), float(np.cos(yaw / 2)), *matrix[:3, 3].tolist()]


def _annotations(sweep: Sweep, agents: list[Agent]) -> dict[str, Any]:
    near = np.hypot(sweep.boxes[:, 0], sweep.boxes[:, 1]) < ANNOTATION_RANGE
    known = np.array([agent.name in CLASS_TO_NAME for agent in agents], dtype=bool)
    rows = np.flatnonzero(near & known & (sweep.num_points > 0))
    boxes = sweep.boxes[rows, :7].copy()
    boxes[:, :3] = boxes[:, :3] @ FILE_FROM_OURS[:3, :3].T
    boxes[:, 6] = (boxes[:, 6] - np.pi / 2 + np.pi) % (2 * np.pi) - np.pi
    return {
        "names": [CLASS_TO_NAME[agents[row].name] for row in rows],
        "boxes_3d": boxes.round(6).tolist(),
        "boxes_2d": {},
    }
