"""Makes the frame index of Waymo from the layout that OpenPCDet's preparation writes.

::

    ROOT/ImageSets/{train,val}.txt
    ROOT/waymo_processed_data_v0_5_0/SEQUENCE/0000.npy ...     x y z intensity elongation no-label-zone
    ROOT/waymo_processed_data_v0_5_0/SEQUENCE/SEQUENCE.pkl     infos of the sequence

Frame: the vehicle's (x ahead, y left, z up), in which the files store points and boxes. The pickles are read without
running what they hold.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.array_pickle import load_array_pickle
from mae3d.datasets.files import read_lines
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex, check_poses
from mae3d.datasets.lidar.sequences import earlier_sweeps
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import ConfigError, DataError

CLASSES = ("Vehicle", "Pedestrian", "Cyclist")
PROCESSED = "waymo_processed_data_v0_5_0"
SPLITS = ("train", "val", "test")
MAX_GAP = 0.25  # seconds; ten sweeps a second
_HINT = "Expected the output of OpenPCDet's preparation of Waymo."


def read_waymo(
    root: str | Path,
    split: str,
    *,
    processed: str = PROCESSED,
    max_sweeps: int = 6,
    workers: int = 0,
    progress: Progress | None = None,
) -> FrameIndex:
    """Index of all frames of a split.

    ``box_extra["difficulty"]`` is the labelled level (0 none, 1, 2), ``extra["context_name"]`` and
    ``extra["timestamp_micros"]`` name the frame for the official evaluator. Signs and unknown objects have label -1.

    Args:
        root: Folder that holds ``ImageSets/`` and the processed sequences.
        split: "train", "val" or "test".
        processed: Name of the folder of sequences.
        max_sweeps: Point files of a frame that are indexed, its own included.
        workers: Processes.
        progress: Told after each sequence.

    Raises:
        ConfigError: an unknown split.
        DataError: a missing, damaged or dangerous file.
    """
    root = Path(root)
    read = partial(_sequence, root, processed, max_sweeps)
    drives = run_parallel(read, sequence_names(root, split), workers=workers, progress=progress)
    return FrameIndex.from_frames("waymo", CLASSES, [frame for drive in drives for frame in drive])


def sequence_names(root: Path, split: str) -> list[str]:
    """Sequences of a split, as in ``ImageSets/``, without the ending."""
    if split not in SPLITS:
        raise ConfigError(f"Waymo has the splits {', '.join(SPLITS)}, not {split!r}")
    lines = read_lines(root / "ImageSets" / f"{split}.txt", "Put the ImageSets of OpenPCDet there.")
    return [line.removesuffix(".tfrecord") for line in lines]


def info_path(root: Path, processed: str, name: str) -> Path:
    """Info file of a sequence; releases differ in whether names end with ``_with_camera_labels``."""
    plain = name.removesuffix("_with_camera_labels")
    for candidate in (name, plain, f"{plain}_with_camera_labels"):
        path = root / processed / candidate / f"{candidate}.pkl"
        if path.exists():
            return path
    return root / processed / name / f"{name}.pkl"


def _sequence(root: Path, processed: str, max_sweeps: int, name: str) -> list[Frame]:
    path = info_path(root, processed, name)
    infos = load_array_pickle(path, _HINT)
    try:
        times = np.array([info["metadata"]["timestamp_micros"] for info in infos]) * 1e-6
        poses = np.array([info["pose"] for info in infos], dtype=np.float64).reshape(-1, 4, 4)
        numbers = [int(info["point_cloud"]["sample_idx"]) for info in infos]
        check_poses(poses, path, [f"frame {number}" for number in numbers])
        files = [f"{processed}/{path.parent.name}/{number:04d}.npy" for number in numbers]
        return [
            Frame(
                token=str(info["frame_id"]),
                sequence=path.parent.name,
                file=files[row],
                time=float(times[row]),
                world_from_sensor=poses[row],
                **earlier_sweeps(files, times, poses, row, max_sweeps, MAX_GAP),
                **_boxes(info),
                extra={
                    "context_name": str(info["metadata"]["context_name"]),
                    "timestamp_micros": int(info["metadata"]["timestamp_micros"]),
                },
            )
            for row, info in enumerate(infos)
        ]
    except DataError:
        raise
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"{path}: not infos of a sequence ({type(error).__name__}: {error}). {_HINT}") from error


def _boxes(info: dict[str, Any]) -> dict[str, Any]:
    annotations = info.get("annos", {"name": ()})
    names = [str(name) for name in annotations["name"]]
    count = len(names)
    boxes = np.full((count, 9), np.nan)
    if count:
        stored = np.asarray(annotations["gt_boxes_lidar"], dtype=np.float64)
        boxes[:, : stored.shape[1]] = stored  # older files hold no velocities
    return {
        "boxes": boxes,
        "labels": np.array([CLASSES.index(name) if name in CLASSES else -1 for name in names], dtype=np.int64),
        "num_points": np.asarray(annotations.get("num_points_in_gt", np.full(count, -1)), dtype=np.int64),
        "tracks": [str(name) for name in annotations.get("obj_ids", range(count))],
        "box_extra": {"difficulty": np.asarray(annotations.get("difficulty", np.zeros(count)), dtype=np.int64)},
    }
