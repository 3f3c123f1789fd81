"""The ground-truth database: the points of every annotated object of a split, to be pasted into other scenes.

Two files: ``NAME.npz`` (boxes, labels, counts) and ``NAME.points.npy`` (all points in one array that workers map into
memory and share).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from mae3d.datasets.files import atomic_write, read_npz, require_file
from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.parallel import Progress
from mae3d.errors import ConfigError, DataError
from mae3d.ops.points_in_boxes import points_in_boxes

SCHEMA_VERSION = 1
FRAMES_PER_PART = 500
_HINT = "Make it with tools/prepare_data.py --ground-truth-database."


@dataclass(frozen=True)
class GroundTruthDatabase:
    """Objects of a split.

    Attributes:
        classes: Names that ``labels`` count.
        points: float32 [T, C], x y z relative to the centre of the object (axes of the sensor), further columns as the
            data set gave them.
        offsets: int64 [K + 1]: points of object k are rows ``offsets[k] : offsets[k + 1]``.
        boxes: float32 [K, 9], sensor frame.
        labels: int64 [K].
        tokens: str [K], frame of each object.
    """

    classes: tuple[str, ...]
    points: np.ndarray
    offsets: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def counts(self) -> np.ndarray:
        """Points of each object, int64 [K]."""
        return np.diff(self.offsets)

    def object_points(self, number: int) -> np.ndarray:
        """Points of an object where it stood, float32 [P, C]."""
        points = np.array(self.points[self.offsets[number] : self.offsets[number + 1]])
        points[:, :3] += self.boxes[number, :3]
        return points

    @classmethod
    def load(cls, path: str | Path) -> GroundTruthDatabase:
        """Read what :func:`build_database` wrote.

        Raises:
            DataError: a missing or damaged file, or one of another version.
        """
        path = Path(path)
        arrays = read_npz(path, _HINT)
        header = json.loads(str(arrays.pop("header", '{"schema": 0}')))
        if header["schema"] != SCHEMA_VERSION:
            raise DataError(
                f"{path}: database of schema {header['schema']}, this version reads {SCHEMA_VERSION}. {_HINT}"
            )
        require_file(points_path(path), _HINT)
        try:
            points = np.load(points_path(path), mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError) as error:
            raise DataError(f"{points_path(path)}: not a readable .npy file ({error}). {_HINT}") from error
        if len(points) != arrays["offsets"][-1]:
            raise DataError(f"{path}: {len(points)} points stored, {arrays['offsets'][-1]} expected. {_HINT}")
        return cls(classes=tuple(header["classes"]), points=points, **arrays)


def points_path(path: Path) -> Path:
    """File of the points that belongs to a database file."""
    return path.with_name(f"{path.stem}.points.npy")


def build_database(
    dataset: LidarDataset,
    path: str | Path,
    *,
    workers: int = 0,
    progress: Progress | None = None,
    frames_per_part: int = FRAMES_PER_PART,
) -> GroundTruthDatabase:
    """Cut the objects of the scored classes out of all frames and write them.

    The points are those that ``dataset`` gives: build it with the sweeps, features and cropping that training uses,
    and without transforms. Objects without a point are left out. Parts of so many frames are kept beside the database
    until it is whole, so that an interrupted build goes on where it stopped.

    Raises:
        ConfigError: the data set transforms its samples.
        DataError: an unreadable frame, or no object at all.
    """
    path = Path(path)
    if dataset.transforms:
        raise ConfigError("build_database: the data set must not have transforms; they would end up in the database")
    parts = _Parts(dataset, path.with_name(f"{path.stem}.parts"), frames_per_part)
    parts.write_missing(workers, progress)
    tables, width, total = [], 0, 0
    with atomic_write(points_path(path)) as file:
        for number, part in enumerate(parts.read()):
            points = part.pop("points")
            if number == 0:
                width = points.shape[1]
                _write_header(file, (0, width))
            file.write(points.astype("<f4").tobytes())
            total += len(points)
            tables.append(part)
        if total == 0:
            raise DataError(f"{path}: none of the {len(dataset)} frames has an annotated object with points")
        file.seek(0)
        _write_header(file, (total, width))
    columns = {name: np.concatenate([part[name] for part in tables]) for name in ("boxes", "labels", "tokens")}
    counts = np.concatenate([part["counts"] for part in tables])
    header = {"schema": SCHEMA_VERSION, "classes": dataset.classes}
    with atomic_write(path) as file:
        np.savez_compressed(file, header=np.array(json.dumps(header)), offsets=np.cumsum([0, *counts]), **columns)
    parts.remove()
    return GroundTruthDatabase.load(path)


class _Parts:
    """Files of the objects of some frames each, with a note of the settings that they were made with."""

    def __init__(self, dataset: LidarDataset, folder: Path, frames: int) -> None:
        self.dataset, self.folder = dataset, folder
        self.ranges = [(start, min(start + frames, len(dataset))) for start in range(0, len(dataset), frames)]
        settings = (SCHEMA_VERSION, dataset.classes, dataset.sweeps, dataset.feature_columns, dataset.remove_close)
        reading = (dataset.lag, dataset.close_in, dataset.pad_empty_sweeps)
        tokens = hashlib.sha256("\n".join(map(str, dataset.frames.token)).encode()).hexdigest()
        self.settings = json.dumps([*settings, *reading, frames, tokens])

    def _path(self, start: int) -> Path:
        return self.folder / f"{start:07d}.npz"

    def _load(self, start: int) -> dict[str, np.ndarray] | None:
        """A part, None where it is absent or of other settings."""
        if not self._path(start).exists():
            return None
        part = read_npz(self._path(start), f"Delete {self.folder}.")
        return part if str(part.pop("settings", "")) == self.settings else None

    def write_missing(self, workers: int, progress: Progress | None) -> None:
        """Cut out the objects of the frames that no part holds."""
        missing = [(start, stop) for start, stop in self.ranges if self._load(start) is None]
        wanted = [number for start, stop in missing for number in range(start, stop)]
        done, found = len(self.dataset) - len(wanted), iter(_frames(self.dataset, wanted, workers))
        for start, stop in missing:
            rows = []
            for number in range(start, stop):
                points, counts, boxes, labels = next(found)
                rows.append(
                    (points, counts, boxes, labels, np.full(len(boxes), str(self.dataset.frames.token[number])))
                )
                done += 1
                if progress is not None:
                    progress(done, len(self.dataset))
            names = ("points", "counts", "boxes", "labels", "tokens")
            arrays = {name: np.concatenate(values) for name, values in zip(names, zip(*rows))}
            with atomic_write(self._path(start)) as file:
                np.savez(file, settings=np.array(self.settings), **arrays)

    def read(self) -> Iterator[dict[str, np.ndarray]]:
        """All parts in order."""
        return (self._load(start) for start, _ in self.ranges)

    def remove(self) -> None:
        """Delete the parts, which are in the database now."""
        shutil.rmtree(self.folder)


def _write_header(file, shape: tuple[int, int]) -> None:
    """Header of a .npy file, of one length whatever the shape."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


def _frames(dataset: LidarDataset, wanted: list[int], workers: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Object points (relative to the centres), counts, boxes and labels of each of the frames ``wanted``."""
    loader = DataLoader(dataset, batch_size=None, sampler=wanted, num_workers=workers)
    for sample in loader:
        scored = sample["box_labels"] >= 0
        boxes, labels = sample["boxes"][scored], sample["box_labels"][scored]
        points = sample["points"]
        owner = points_in_boxes(points[None, :, :3].contiguous(), boxes[None, :, :7].contiguous()).index[0]
        counts = torch.bincount(owner[owner >= 0], minlength=len(boxes))
        order = owner.argsort(stable=True)[len(points) - int(counts.sum()) :]
        cut = points[order]
        cut[:, :3] -= boxes[owner[order], :3]
        kept = counts > 0
        yield cut.numpy(), counts[kept].numpy(), boxes[kept].numpy(), labels[kept].numpy()


def count_points(dataset: LidarDataset, *, workers: int = 0, progress: Progress | None = None) -> np.ndarray:
    """Points of the frame in each box of ``dataset.frames``, int64 [all boxes]; for files that do not tell."""
    counts = np.zeros(len(dataset.frames.boxes), dtype=np.int64)
    for number, sample in enumerate(DataLoader(dataset, batch_size=None, num_workers=workers)):
        rows = slice(*dataset.frames.box_offsets[number : number + 2])
        boxes = sample["boxes"][None, :, :7].contiguous()
        counts[rows] = points_in_boxes(sample["points"][None, :, :3].contiguous(), boxes).counts[0].numpy()
        if progress is not None:
            progress(number + 1, len(dataset))
    return counts
