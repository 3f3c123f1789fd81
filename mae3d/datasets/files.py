"""Reading and writing files: every failure becomes a DataError that names the file and the way out."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from mae3d.errors import DataError, MissingExtraError


def require_file(path: Path, hint: str) -> Path:
    """Return ``path`` if it is a non-empty file; ``hint`` ends the error message otherwise."""
    if not path.is_file():
        raise DataError(f"{path}: file is missing. {hint}")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: file is empty (0 bytes), probably an interrupted copy. {hint}")
    return path


def read_lines(path: Path, hint: str) -> list[str]:
    """Non-blank lines of a text file, stripped."""
    try:
        text = require_file(path, hint).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not a text file ({error}). {hint}") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise DataError(f"{path}: file holds only blank lines. {hint}")
    return lines


def read_npy(path: Path, hint: str) -> np.ndarray:
    """Array of a .npy file; pickled objects are refused."""
    require_file(path, hint)
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{path}: not a readable .npy file ({error}). {hint}") from error


def read_npz(path: Path, hint: str) -> dict[str, np.ndarray]:
    """All arrays of a .npz file; pickled objects are refused."""
    require_file(path, hint)
    try:
        # numpy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return dict(content)
    except (
        ValueError,
        EOFError,
        OSError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise DataError(f"{path}: not a readable .npz file ({error}). {hint}") from error


def read_table(path: Path, hint: str, *, delimiter: str | None = None) -> np.ndarray:
    """Text file of numbers, one row a line, as float32 [rows, columns]; None splits at blanks or commas."""
    require_file(path, hint)
    if delimiter is None:
        with path.open(encoding="utf-8", errors="replace") as file:
            delimiter = "," if "," in file.readline() else None
    try:
        return np.loadtxt(path, dtype=np.float32, delimiter=delimiter, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}: not a table of numbers ({error}). {hint}") from error


def read_hdf5(path: Path, names: tuple[str, ...], hint: str) -> tuple[np.ndarray, ...]:
    """Named arrays of an HDF5 file, read whole."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "objects", f"reading {path.name}") from error
    require_file(path, hint)
    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in names if name not in file]
            if missing:
                raise DataError(f"{path}: lacks the arrays {missing}, it holds {sorted(file)}. {hint}")
            return tuple(file[name][()] for name in names)
    except OSError as error:
        raise DataError(f"{path}: not a readable HDF5 file ({error}). {hint}") from error


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears under ``path`` only when it was written whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open(mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
