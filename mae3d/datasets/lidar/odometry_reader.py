"""Makes the frame index of KITTI odometry and SemanticKITTI: long drives with poses, without boxes.

Both share ``sequences/SS/velodyne``. The poses are ``poses/SS.txt`` of the odometry benchmark (from GPS and IMU) or
``sequences/SS/poses.txt`` of SemanticKITTI (from SLAM, consistent nearby, hence preferred); both are those of the left
camera and are moved to the lidar with ``Tr`` of ``calib.txt``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mae3d.datasets.files import read_lines
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex, check_poses
from mae3d.datasets.lidar.kitti_files import read_matrices
from mae3d.datasets.lidar.sequences import check_times, earlier_sweeps
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import ConfigError, DataError

SPLITS = {
    "train": ("00", "01", "02", "03", "04", "05", "06", "07", "09", "10"),
    "val": ("08",),
    "test": tuple(f"{number:02d}" for number in range(11, 22)),
}
"""Split of SemanticKITTI -> its sequences."""

MAX_GAP = 0.35  # seconds; the lidar turns ten times a second
_HINT = "Copy it again from the original archive."


def read_semantickitti(
    root: str | Path,
    split: str | Sequence[str],
    *,
    max_sweeps: int = 10,
    workers: int = 0,
    progress: Progress | None = None,
) -> FrameIndex:
    """Index of the sequences of a split.

    Args:
        root: Folder that holds ``sequences/`` (and ``poses/``), often named ``dataset``.
        split: "train", "val", "test", or names of sequences.
        max_sweeps: Point files of a frame that are indexed, its own included.
        workers: Processes.
        progress: Told after each sequence.

    Raises:
        ConfigError: an unknown split.
        DataError: a missing or damaged file, or counts of sweeps, poses and times that differ.
    """
    root = Path(root)
    drives = run_parallel(partial(_sequence, root, max_sweeps), _sequences(split), workers=workers, progress=progress)
    return FrameIndex.from_frames("semantickitti", (), [frame for drive in drives for frame in drive])


def _sequences(split: str | Sequence[str]) -> Sequence[str]:
    if not isinstance(split, str):
        return split
    if split not in SPLITS:
        raise ConfigError(f"SemanticKITTI has the splits {', '.join(SPLITS)}, not {split!r}")
    return SPLITS[split]


def _sequence(root: Path, max_sweeps: int, name: str) -> list[Frame]:
    folder = root / "sequences" / name
    files = sorted((folder / "velodyne").glob("*.bin"))
    if not files:
        raise DataError(f"{folder / 'velodyne'}: holds no .bin file; sequence {name} is missing or not unpacked")
    path = folder / "poses.txt"
    path = path if path.exists() else root / "poses" / f"{name}.txt"
    cameras, camera_from_lidar = _camera_poses(path), _camera_from_lidar(folder / "calib.txt")
    times = np.array([_number(folder / "times.txt", line) for line in read_lines(folder / "times.txt", _HINT)])
    # Official archives hold a sweep for each pose; a part of a sequence is named by its files.
    numbers = np.array([int(path.stem) if path.stem.isdigit() else -1 for path in files])
    if numbers.min() < 0 or numbers.max() >= min(len(cameras), len(times)):
        raise DataError(
            f"{folder}: {len(files)} sweeps up to {files[-1].name}, but {len(cameras)} poses and {len(times)} times; "
            f"the files do not belong together. {_HINT}"
        )
    cameras, times, names = cameras[numbers], times[numbers], [f"sweep {number}" for number in numbers]
    check_poses(cameras, path, names)
    check_times(times, folder / "times.txt", names)
    poses = np.linalg.inv(camera_from_lidar) @ cameras @ camera_from_lidar
    relative = [str(path.relative_to(root)) for path in files]
    return [
        Frame(
            token=f"{name}/{path.stem}",
            sequence=name,
            file=relative[row],
            time=float(times[row]),
            world_from_sensor=poses[row],
            **earlier_sweeps(relative, times, poses, row, max_sweeps, MAX_GAP),
        )
        for row, path in enumerate(files)
    ]


def _number(path: Path, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{path}: {text[:40]!r} is not a number. {_HINT}") from None


def _camera_poses(path: Path) -> np.ndarray:
    """World from left camera, float64 [F, 4, 4]; the world is that of the first frame. Test drives may have none."""
    lines = read_lines(path, "Poses come with SemanticKITTI's labels, or with KITTI odometry's ground truth.")
    try:
        table = np.array([line.split() for line in lines], dtype=np.float64).reshape(-1, 3, 4)
    except ValueError as error:
        raise DataError(f"{path}: every line must hold 12 numbers ({error}). {_HINT}") from error
    return np.concatenate((table, np.broadcast_to([[0.0, 0, 0, 1]], (len(table), 1, 4))), axis=1)


def _camera_from_lidar(path: Path) -> np.ndarray:
    """``Tr`` of a calibration file, float64 [4, 4]."""
    matrices = read_matrices(path)
    if matrices.get("Tr", np.empty(0)).size != 12:
        raise DataError(f"{path}: no Tr of 3x4 numbers, there are {sorted(matrices)}. {_HINT}")
    matrix = np.vstack((matrices["Tr"].reshape(3, 4), [[0.0, 0, 0, 1]]))
    check_poses(matrix[None], path, ["Tr"], _HINT)
    return matrix
