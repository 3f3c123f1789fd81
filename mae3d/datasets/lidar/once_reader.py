"""Makes the frame index of ONCE from its official files.

Frame of reference: ours, x ahead, y left. The files' lidar frame has x left and y back, so points, boxes and poses are
turned by 90 degrees about z.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mae3d.datasets.files import read_lines, require_file
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.sequences import earlier_sweeps
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import ConfigError, DataError
from mae3d.structures.box_conventions import quaternion_matrix
from mae3d.structures.boxes import transform_boxes

CLASSES = ("Car", "Bus", "Truck", "Pedestrian", "Cyclist")
SPLITS = ("train", "val", "test", "raw_small", "raw_medium", "raw_large")
FILE_FROM_OURS = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
"""Turns our axes (x ahead, y left) into those of the files (x left, y back)."""

MAX_GAP = 0.75  # seconds; two published frames a second
_HINT = "Copy it again from the original archive."


def read_once(
    root: str | Path, split: str, *, max_sweeps: int = 4, workers: int = 0, progress: Progress | None = None
) -> FrameIndex:
    """Index of a split.

    "train" and "val" keep annotated frames that show an object, as the published loaders do; "test" and the raw
    splits keep all frames and have no boxes. A frame whose pose is all zeros has no sweeps and is none.

    Args:
        root: Folder that holds ``ImageSets/`` and ``data/``.
        split: "train", "val", "test", "raw_small", "raw_medium" or "raw_large".
        max_sweeps: Point files of a frame that are indexed, its own included; sweeps are half a second apart.
        workers: Processes.
        progress: Told after each sequence.

    Raises:
        ConfigError: an unknown split.
        DataError: a missing or damaged file.
    """
    root = Path(root)
    read = partial(_sequence, root, labelled=split in ("train", "val"), max_sweeps=max_sweeps)
    drives = run_parallel(read, sequence_names(root, split), workers=workers, progress=progress)
    return FrameIndex.from_frames("once", CLASSES, [frame for drive in drives for frame in drive])


def sequence_names(root: Path, split: str) -> list[str]:
    """Sequences of a split, as in ``ImageSets/``."""
    if split not in SPLITS:
        raise ConfigError(f"ONCE has the splits {', '.join(SPLITS)}, not {split!r}")
    return read_lines(root / "ImageSets" / f"{split}.txt", "Put the published ImageSets there.")


def _sequence(root: Path, name: str, labelled: bool, max_sweeps: int) -> list[Frame]:
    path = require_file(root / "data" / name / f"{name}.json", _HINT)
    try:
        records = json.loads(path.read_bytes())["frames"]
        times = np.array([int(record["frame_id"]) for record in records]) * 1e-3
        rows = np.array([record["pose"] for record in records], dtype=np.float64).reshape(-1, 7)
        poses, known = _poses(rows), rows.any(axis=1)
        boxes = [_boxes(record) for record in records]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a sequence of ONCE ({type(error).__name__}: {error}). {_HINT}") from error
    files = [f"data/{name}/lidar_roof/{record['frame_id']}.bin" for record in records]
    return [
        Frame(
            token=str(record["frame_id"]),
            sequence=name,
            file=files[row],
            time=float(times[row]),
            world_from_sensor=poses[row],
            **earlier_sweeps(files, times, poses, row, max_sweeps, MAX_GAP, known),
            **boxes[row],
        )
        for row, record in enumerate(records)
        if not labelled or boxes[row]
    ]


def _poses(rows: np.ndarray) -> np.ndarray:
    """Rows (quaternion x y z w, translation) -> world from our axes, float64 [F, 4, 4].

    Rows of zeros stand for a pose that is not known and give the identity.
    """
    rows = np.where(rows.any(axis=1, keepdims=True), rows, np.eye(7)[3])
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = quaternion_matrix(torch.from_numpy(rows[:, [3, 0, 1, 2]])).numpy()
    poses[:, :3, 3] = rows[:, 4:]
    return poses @ FILE_FROM_OURS


def _boxes(record: dict[str, Any]) -> dict[str, Any]:
    """Box fields of a frame; none where nothing is annotated."""
    annotations = record.get("annos") or {}
    names = annotations.get("names", [])
    if not names:
        return {}
    rows = torch.tensor(annotations["boxes_3d"], dtype=torch.float64).reshape(len(names), 7)
    boxes = transform_boxes(rows, torch.from_numpy(np.linalg.inv(FILE_FROM_OURS))).numpy()
    return {
        "boxes": np.column_stack((boxes, np.full((len(names), 2), np.nan))),
        "labels": np.array([CLASSES.index(name) if name in CLASSES else -1 for name in names]),
        "num_points": np.full(len(names), -1),
        "tracks": [str(row) for row in range(len(names))],
    }
