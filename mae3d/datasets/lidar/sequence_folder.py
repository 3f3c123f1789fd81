"""Any drive in a folder: point files in order, and, where they are known, poses and boxes as CSV.

::

    FOLDER/velodyne/000000.npz ...   (or the files in FOLDER itself; .npz, .npy or raw .bin)
    FOLDER/poses.csv                 frame[, time_s], m00 ... m23: world from sensor, row-major 3x4
    FOLDER/boxes.csv                 frame, track_id, class, x, y, z, length, width, height, yaw[, num_points, ...]

Frame: x ahead, y left, z up, metres, radians.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import read_lines, read_npy, read_npz
from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex, check_poses
from mae3d.datasets.lidar.point_files import read_bin
from mae3d.datasets.lidar.sequences import check_times, earlier_sweeps, with_velocities
from mae3d.errors import DataError
from mae3d.registry import DATASETS

_HINT = "The layout is described in mae3d/datasets/lidar/sequence_folder.py."
_MATRIX = [f"m{row}{column}" for row in range(3) for column in range(4)]
_BOX = ("x", "y", "z", "length", "width", "height", "yaw")
_EXTRA = ("truncated", "occluded")


def read_sequence_folder(
    folder: str | Path,
    *,
    rate_hz: float = 10.0,
    max_sweeps: int = 10,
    classes: Sequence[str] | None = None,
    poses: str = "poses.csv",
) -> FrameIndex:
    """Index of one drive.

    Frames without a pose are an error; without the file of poses each frame stands alone (identity, no sweeps).

    Args:
        folder: See the top of this module.
        rate_hz: Sweeps a second, for frame numbers without a time.
        max_sweeps: Point files of a frame that are indexed, its own included; gaps in the recording end them.
        classes: Classes that labels count; default: those of ``boxes.csv`` in alphabetical order.
        poses: Name of the file of poses.
    """
    folder = Path(folder)
    files = _point_files(folder)
    numbers = [int(path.stem) if path.stem.isdigit() else row for row, path in enumerate(files)]
    known = _read_poses(folder / poses, numbers, rate_hz)
    times, matrices = known or (np.array(numbers) / rate_hz, np.tile(np.eye(4), (len(files), 1, 1)))
    rows = _read_rows(folder / "boxes.csv", ("frame", "class", *_BOX)) if (folder / "boxes.csv").exists() else {}
    if classes is None:
        classes = sorted({row["class"] for group in rows.values() for row in group})
    relative = [str(path.relative_to(folder)) for path in files]
    gap = 2.5 / rate_hz
    frames = []
    for row, path in enumerate(files):
        sweeps = {} if known is None else earlier_sweeps(relative, times, matrices, row, max_sweeps, gap)
        boxes = _boxes(folder / "boxes.csv", rows.get(numbers[row], []), classes)
        frames.append(Frame(path.stem, folder.name, relative[row], float(times[row]), matrices[row], **sweeps, **boxes))
    return FrameIndex.from_frames(folder.name, classes, with_velocities(frames, gap))


def _point_files(folder: Path) -> list[Path]:
    for place in (folder / "velodyne", folder / "lidar", folder / "points", folder):
        files = sorted(path for path in place.glob("*") if path.suffix in (".bin", ".npz", ".npy"))
        if files:
            return files
    raise DataError(f"{folder}: no .bin, .npz or .npy file in it or in velodyne/, lidar/ or points/. {_HINT}")


def _read_rows(path: Path, needed: Sequence[str]) -> dict[int, list[dict[str, str]]]:
    """Rows of a CSV file by their column ``frame``."""
    groups = defaultdict(list)
    reader = csv.DictReader(read_lines(path, _HINT))
    missing = [name for name in needed if name not in reader.fieldnames]
    if missing:
        raise DataError(f"{path}: lacks the columns {missing}, it holds {reader.fieldnames}. {_HINT}")
    for line, row in enumerate(reader, start=2):
        try:
            groups[int(row["frame"])].append(row)
        except (TypeError, ValueError):
            raise DataError(f"{path}: line {line} has no whole number in a column 'frame'. {_HINT}") from None
    return groups


def _numbers(path: Path, row: dict[str, str], names: Sequence[str]) -> list[float]:
    try:
        return [float(row[name]) for name in names]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{path}: frame {row['frame']} needs numbers in the columns {', '.join(names)} "
            f"({type(error).__name__}: {error}). {_HINT}"
        ) from error


def _read_poses(path: Path, numbers: Sequence[int], rate_hz: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Times [F] and world-from-sensor [F, 4, 4] of the frames ``numbers``."""
    if not path.exists():
        return None
    rows = _read_rows(path, ("frame", *_MATRIX))
    absent = [number for number in numbers if number not in rows]
    if absent:
        raise DataError(
            f"{path}: no pose for {len(absent)} of {len(numbers)} frames, the first is {absent[0]}. {_HINT}"
        )
    twice = [number for number in numbers if len(rows[number]) > 1]
    if twice:
        raise DataError(f"{path}: frame {twice[0]} has {len(rows[twice[0]])} poses, expected one. {_HINT}")
    matrices = np.tile(np.eye(4), (len(numbers), 1, 1))
    times = np.array(numbers) / rate_hz
    for position, number in enumerate(numbers):
        row = rows[number][0]
        matrices[position, :3] = np.array(_numbers(path, row, _MATRIX)).reshape(3, 4)
        if "time_s" in row:
            times[position] = _numbers(path, row, ["time_s"])[0]
    names = [f"frame {number}" for number in numbers]
    check_poses(matrices, path, names)
    check_times(times, path, names)
    return times, matrices


def _boxes(path: Path, rows: Sequence[dict[str, str]], classes: Sequence[str]) -> dict[str, Any]:
    table = np.array([_numbers(path, row, _BOX) for row in rows]).reshape(-1, 7)
    return {
        "boxes": np.column_stack((table, np.full((len(rows), 2), np.nan))),
        "labels": np.array([classes.index(r["class"]) if r["class"] in classes else -1 for r in rows], dtype=np.int64),
        "num_points": np.array([int(row.get("num_points") or -1) for row in rows], dtype=np.int64),
        "tracks": [row.get("track_id", str(number)) for number, row in enumerate(rows)],
        "box_extra": {name: np.array([float(row.get(name) or -1) for row in rows]) for name in _EXTRA},
    }


@DATASETS.register_module()
class SequenceFolder(LidarDataset):
    """One drive in a folder: x y z and intensity, whatever the recording offers.

    ``.bin`` holds float32 rows x y z intensity. ``.npz`` holds ``points`` [N, 3 or 4]; or ``xyz_mm`` [3, N] integer
    millimetres and ``intensity`` in hundredths; or a sensor grid ``xyz`` [H, W, 3] (zeros: no return) with
    ``reflectivity`` or ``signal``. Intensity is 0 where nothing like it is stored.

    Args:
        root: The folder.
        rate_hz: Sweeps a second, for frame numbers without a time.
        classes: See :func:`read_sequence_folder`.
        poses: Name of the file of poses.
        **options: See :class:`LidarDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        rate_hz: float = 10.0,
        classes: Sequence[str] | None = None,
        poses: str = "poses.csv",
        **options: Any,
    ) -> None:
        super().__init__(root, read_sequence_folder(root, rate_hz=rate_hz, classes=classes, poses=poses), **options)

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity."""
        return read_point_file(path)


def read_point_file(path: Path, columns: int = 4) -> np.ndarray:
    """x y z intensity, float32 [N, 4], of a ``.npz`` or ``.npy`` file, or of a raw file with so many columns.

    Raises:
        DataError: a missing or damaged file, or one without points.
    """
    if path.suffix == ".npz":
        return _from_arrays(read_npz(path, _HINT), path)
    if path.suffix == ".npy":
        return _four_columns(read_npy(path, _HINT), path)
    return _four_columns(read_bin(path, columns), path)


def _from_arrays(arrays: dict[str, np.ndarray], path: Path) -> np.ndarray:
    if "points" in arrays:
        return _four_columns(arrays["points"], path)
    if "xyz_mm" in arrays:
        intensity = arrays.get("intensity", np.zeros(arrays["xyz_mm"].shape[1]))
        return np.column_stack((arrays["xyz_mm"].T / 1000, intensity / 100)).astype(np.float32)
    if "xyz" in arrays:
        xyz = arrays["xyz"].reshape(-1, 3)
        shine = next((arrays[name] for name in ("reflectivity", "signal") if name in arrays), np.zeros(len(xyz)))
        rows = np.column_stack((xyz, shine.reshape(-1))).astype(np.float32)
        return rows[(xyz != 0).any(axis=1)]
    raise DataError(f"{path}: holds {sorted(arrays)}, expected points, xyz_mm or xyz. {_HINT}")


def _four_columns(points: np.ndarray, path: Path) -> np.ndarray:
    if points.ndim != 2 or points.shape[1] < 3:
        raise DataError(f"{path}: points must be [N, 3 or more], got {list(points.shape)}. {_HINT}")
    if points.shape[1] == 3:
        points = np.column_stack((points, np.zeros(len(points))))
    return np.ascontiguousarray(points[:, :4], dtype=np.float32)
