"""Reads the point files of driving data sets: float32 [N, C], x y z first, metres, sensor frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mae3d.datasets.files import require_file
from mae3d.errors import DataError

SAMPLED_ROWS = 64
_HINT = "Copy it again from the original archive."


def read_bin(path: Path, columns: int) -> np.ndarray:
    """Raw little-endian float32 rows of ``columns`` values.

    Raises:
        DataError: missing, empty or truncated file, or a file of another number of columns.
    """
    require_file(path, _HINT)
    size = path.stat().st_size
    if size % (4 * columns):
        raise DataError(
            f"{path}: {size} bytes are not a whole number of rows of {columns} float32 values: the file is truncated "
            f"or has another number of columns. {_HINT}"
        )
    return np.fromfile(path, dtype="<f4").reshape(-1, columns)


def check_column(points: np.ndarray, column: int, name: str, high: float, path: Path, *, whole: bool = False) -> None:
    """Look at the first rows of a column: a file of another number of columns can hold a whole number of rows, too.

    Args:
        points: [N, C].
        column: Which.
        name: What it should hold.
        high: Its largest value; the smallest is 0.
        path: Of the file.
        whole: It should hold whole numbers.

    Raises:
        DataError: a value that is impossible.
    """
    values = points[:SAMPLED_ROWS, column]
    values = values[np.isfinite(values)]
    wrong = (values < 0) | (values > high)
    if whole:
        wrong |= values != np.floor(values)
    if wrong.any():
        kind = "whole numbers" if whole else "numbers"
        raise DataError(
            f"{path}: column {column} should hold {name}, {kind} from 0 to {high:g}, but holds {values[wrong][0]:g}: "
            f"the file has another number of columns than {points.shape[1]}, or is of another data set. {_HINT}"
        )


def check_points(points: np.ndarray, path: Path) -> np.ndarray:
    """Return ``points`` if there are any and x, y, z are finite.

    Raises:
        DataError: no point, or a coordinate that is not finite; names the file and the first bad row.
    """
    if len(points) == 0:
        raise DataError(f"{path}: holds no point. {_HINT}")
    if np.isfinite(points).all():  # all columns at once: the quick way through good files
        return points
    finite = np.isfinite(points[:, :3]).all(axis=1)
    if not finite.all():
        bad = int(np.flatnonzero(~finite)[0])
        raise DataError(
            f"{path}: {int((~finite).sum())} of {len(points)} points are not finite, first row {bad}: "
            f"{points[bad].tolist()}. {_HINT}"
        )
    return points
