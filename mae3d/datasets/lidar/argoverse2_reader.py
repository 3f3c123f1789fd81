"""Makes the frame index of Argoverse 2 (sensor data set) from its feather files.

Frame: the ego vehicle's (x ahead, y left, z up, origin at the rear axle), in which the files store points and boxes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch

from mae3d.datasets.files import require_file
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.sequences import earlier_sweeps, with_velocities
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import DataError, MissingExtraError
from mae3d.structures.box_conventions import quaternion_matrix, quaternion_yaw

CLASSES = (
    "REGULAR_VEHICLE",
    "PEDESTRIAN",
    "BICYCLIST",
    "MOTORCYCLIST",
    "WHEELED_RIDER",
    "BOLLARD",
    "CONSTRUCTION_CONE",
    "SIGN",
    "CONSTRUCTION_BARREL",
    "STOP_SIGN",
    "MOBILE_PEDESTRIAN_CROSSING_SIGN",
    "LARGE_VEHICLE",
    "BUS",
    "BOX_TRUCK",
    "TRUCK",
    "VEHICULAR_TRAILER",
    "TRUCK_CAB",
    "SCHOOL_BUS",
    "ARTICULATED_BUS",
    "MESSAGE_BOARD_TRAILER",
    "BICYCLE",
    "MOTORCYCLE",
    "WHEELED_DEVICE",
    "WHEELCHAIR",
    "STROLLER",
    "DOG",
)
"""The 26 categories that the detection benchmark scores; others have label -1."""

MAX_GAP = 0.25  # seconds; ten sweeps a second
_HINT = "Copy it again from the original archive."
_QUATERNION = ("qw", "qx", "qy", "qz")
_TRANSLATION = ("tx_m", "ty_m", "tz_m")
_SIZE = ("length_m", "width_m", "height_m")


def read_feather(path: Path, columns: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Columns of a feather file as arrays.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: missing or damaged file, or one without these columns.
    """
    try:
        from pyarrow import ArrowException, feather
    except ImportError as error:
        raise MissingExtraError("pyarrow", "argoverse", f"reading {path.name}") from error
    require_file(path, _HINT)
    try:
        table = feather.read_table(path, memory_map=False)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: not a readable feather file ({error}). {_HINT}") from error
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"{path}: lacks the columns {missing}, it holds {table.column_names}. {_HINT}")
    return {name: table.column(name).to_numpy() for name in columns}


def read_argoverse2(
    root: str | Path,
    split: str | None = None,
    *,
    max_sweeps: int = 10,
    workers: int = 0,
    progress: Progress | None = None,
) -> FrameIndex:
    """Index of all sweeps of a split.

    Args:
        root: Folder that holds ``train/``, ``val/`` and ``test/``.
        split: One of them; None: the logs lie in ``root`` itself.
        max_sweeps: Point files of a frame that are indexed, its own included.
        workers: Processes.
        progress: Told after each log.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: a missing or damaged file.
    """
    root = Path(root)
    folder = root / split if split else root
    logs = sorted(path.parent.parent for path in folder.glob("*/sensors/lidar"))
    if not logs:
        raise DataError(f"{folder}: holds no LOG/sensors/lidar folder")
    drives = run_parallel(partial(_log, root, max_sweeps), logs, workers=workers, progress=progress)
    return FrameIndex.from_frames("argoverse2", CLASSES, [frame for drive in drives for frame in drive])


def _log(root: Path, max_sweeps: int, log: Path) -> list[Frame]:
    files = sorted((log / "sensors" / "lidar").glob("*.feather"))
    if not files:
        raise DataError(f"{log / 'sensors' / 'lidar'}: holds no .feather file. {_HINT}")
    stamps = np.array([_stamp(path) for path in files])
    poses = _poses(log / "city_SE3_egovehicle.feather", stamps)
    cuboids = _cuboids(log / "annotations.feather")
    relative = [str(path.relative_to(root)) for path in files]
    times = stamps // 1_000_000_000 + stamps % 1_000_000_000 * 1e-9
    frames = [
        Frame(
            token=f"{log.name}/{stamp}",
            sequence=log.name,
            file=relative[row],
            time=float(times[row]),
            world_from_sensor=poses[row],
            **earlier_sweeps(relative, times, poses, row, max_sweeps, MAX_GAP),
            **_boxes(cuboids, stamp),
        )
        for row, stamp in enumerate(stamps)
    ]
    return with_velocities(frames, MAX_GAP)


def _stamp(path: Path) -> int:
    if not path.stem.isdigit():
        raise DataError(f"{path}: the name must be the sweep's time stamp in nanoseconds. {_HINT}")
    return int(path.stem)


def _poses(path: Path, stamps: np.ndarray) -> np.ndarray:
    """City from ego vehicle at the sweeps, float64 [F, 4, 4]."""
    table = read_feather(path, ("timestamp_ns", *_QUATERNION, *_TRANSLATION))
    order = np.argsort(table["timestamp_ns"], kind="stable")
    place = np.searchsorted(table["timestamp_ns"][order], stamps)
    found = order[np.minimum(place, len(order) - 1)]
    absent = table["timestamp_ns"][found] != stamps
    if absent.any():
        raise DataError(f"{path}: no pose at {int(absent.sum())} sweeps, the first is {stamps[absent][0]}. {_HINT}")
    poses = np.tile(np.eye(4), (len(stamps), 1, 1))
    quaternions = np.stack([table[name][found] for name in _QUATERNION], axis=1)
    poses[:, :3, :3] = quaternion_matrix(torch.from_numpy(quaternions)).numpy()
    poses[:, :3, 3] = np.stack([table[name][found] for name in _TRANSLATION], axis=1)
    return poses


def _cuboids(path: Path) -> dict[str, np.ndarray]:
    """Cuboids of a log in order of time; the test split has none."""
    names = ("timestamp_ns", "track_uuid", "category", *_SIZE, *_QUATERNION, *_TRANSLATION, "num_interior_pts")
    if not path.exists():
        return {"timestamp_ns": np.zeros(0, dtype=np.int64)}
    table = read_feather(path, names)
    order = np.argsort(table["timestamp_ns"], kind="stable")
    return {name: values[order] for name, values in table.items()}


def _boxes(cuboids: dict[str, np.ndarray], stamp: int) -> dict:
    rows = slice(*np.searchsorted(cuboids["timestamp_ns"], [stamp, stamp + 1]))
    if rows.start == rows.stop:
        return {}
    columns = {name: values[rows] for name, values in cuboids.items()}
    quaternions = torch.from_numpy(np.stack([columns[name] for name in _QUATERNION], axis=1))
    centre_and_size = [columns[name] for name in (*_TRANSLATION, *_SIZE)]
    unknown = np.full((rows.stop - rows.start, 2), np.nan)
    return {
        "boxes": np.column_stack((*centre_and_size, quaternion_yaw(quaternions).numpy(), unknown)),
        "labels": np.array([CLASSES.index(name) if name in CLASSES else -1 for name in columns["category"]]),
        "num_points": columns["num_interior_pts"],
        "tracks": [str(name) for name in columns["track_uuid"]],
    }
