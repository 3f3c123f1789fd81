"""Turns raw segments of Waymo into the layout that OpenPCDet's preparation writes, which :class:`Waymo` reads.

A segment's infos are written last and whole, so an interrupted conversion goes on with the segments that lack them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.files import atomic_write
from mae3d.datasets.lidar.waymo_reader import PROCESSED
from mae3d.datasets.lidar.waymo_segment import WaymoFrame, read_segment
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import DataError

RAW = "raw_data"
FOLDERS = {"train": "training", "val": "validation", "test": "testing"}
"""Split -> folder of the published archives below ``raw_data/``."""


def list_splits(root: Path) -> list[str]:
    """Write ``ImageSets/SPLIT.txt`` where it is absent and ``raw_data/`` has the folder of the split; those written."""
    made = []
    for split, folder in FOLDERS.items():
        names = sorted(path.name for path in (root / RAW / folder).glob("*.tfrecord"))
        target = root / "ImageSets" / f"{split}.txt"
        if names and not target.exists():
            with atomic_write(target, "w") as file:
                file.write("".join(f"{name}\n" for name in names))
            made.append(split)
    return made


def raw_segments(root: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Segment files below ``root/raw_data``; those of ``names`` (with or without ending) where given.

    Raises:
        DataError: no segment at all, or a wanted one is missing.
    """
    found = {path.name.removesuffix(".tfrecord"): path for path in sorted((root / RAW).rglob("*.tfrecord"))}
    if not found:
        raise DataError(f"{root / RAW}: holds no .tfrecord file; put the segments of Waymo 1.x there")
    if names is None:
        return list(found.values())
    wanted = [name.removesuffix(".tfrecord") for name in names]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{root / RAW}: lacks {len(missing)} of {len(wanted)} segments, the first is {missing[0]}")
    return [found[name] for name in wanted]


def convert_segments(
    root: str | Path,
    names: Sequence[str] | None = None,
    *,
    processed: str = PROCESSED,
    returns: int = 2,
    workers: int = 0,
    progress: Progress | None = None,
) -> int:
    """Convert raw segments that have not been converted; returns their number.

    Args:
        root: Folder that holds ``raw_data/``.
        names: Segments, as in ``ImageSets/``; None: all that are there.
        processed: Folder to write to.
        returns: Echoes of each pulse that are kept, 1 or 2.
        workers: Processes.
        progress: Told after each segment.

    Raises:
        DataError: a missing or damaged segment.
    """
    root = Path(root)
    tasks = [path for path in raw_segments(root, names) if not _info_path(root / processed, path).exists()]
    run_parallel(partial(_convert, root / processed, returns), tasks, workers=workers, progress=progress)
    return len(tasks)


def _info_path(folder: Path, segment: Path) -> Path:
    name = segment.name.removesuffix(".tfrecord")
    return folder / name / f"{name}.pkl"


def _convert(folder: Path, returns: int, segment: Path) -> None:
    target = _info_path(folder, segment)
    infos = []
    for number, frame in enumerate(read_segment(segment, returns=returns)):
        with atomic_write(target.parent / f"{number:04d}.npy") as file:
            np.save(file, frame.points)
        infos.append(_info(target.stem, number, frame))
    if not infos:
        raise DataError(f"{segment}: holds no frame")
    save_array_pickle(infos, target)


def _info(sequence: str, number: int, frame: WaymoFrame) -> dict[str, Any]:
    known = frame.names != "unknown"
    return {
        "point_cloud": {"num_features": 5, "lidar_sequence": sequence, "sample_idx": number},
        "frame_id": f"{sequence}_{number:03d}",
        "metadata": {"context_name": frame.context_name, "timestamp_micros": frame.timestamp_micros},
        "image": {},
        "pose": frame.pose,
        "annos": {
            "name": frame.names[known],
            "difficulty": frame.difficulty[known],
            "dimensions": frame.boxes[known, 3:6],
            "location": frame.boxes[known, :3],
            "heading_angles": frame.boxes[known, 6],
            "obj_ids": frame.ids[known],
            "num_points_in_gt": frame.num_points[known],
            "gt_boxes_lidar": frame.boxes[known],
        },
        "num_points_of_each_lidar": frame.points_of_lidar,
    }
