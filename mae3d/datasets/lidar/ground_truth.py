"""The ground-truth database: the points of every annotated object of a split, to be pasted into other scenes.

Two files: ``NAME.npz`` (boxes, labels, counts) and ``NAME.points.npy`` (all points in one array that workers map into
memory and share).
"""

from __future__ import annotations

import json
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
    dataset: LidarDataset, path: str | Path, *, workers: int = 0, progress: Progress | None = None
) -> GroundTruthDatabase:
    """Cut the objects of the scored classes out of all frames and write them.

    The points are those that ``dataset`` gives: build it with the sweeps, features and cropping that training uses,
    and without transforms. Objects without a point are left out.

    Raises:
        ConfigError: the data set transforms its samples.
        DataError: an unreadable frame, or no object at all.
    """
    path = Path(path)
    if dataset.transforms:
        raise ConfigError("build_database: the data set must not have transforms; they would end up in the database")
    tables: list[tuple[np.ndarray, ...]] = []
    with atomic_write(points_path(path)) as file:
        width, total = 0, 0
        for number, (points, counts, boxes, labels) in enumerate(_frames(dataset, workers)):
            if number == 0:
                width = points.shape[1]
                _write_header(file, (0, width))
            file.write(points.astype("<f4").tobytes())
            total += len(points)
            tables.append((counts, boxes, labels, np.full(len(boxes), str(dataset.frames.token[number]))))
            if progress is not None:
                progress(number + 1, len(dataset))
        if total == 0:
            raise DataError(f"{path}: none of the {len(dataset)} frames has an annotated object with points")
        file.seek(0)
        _write_header(file, (total, width))
    counts, boxes, labels, tokens = (np.concatenate(columns) for columns in zip(*tables))
    header = {"schema": SCHEMA_VERSION, "classes": dataset.classes}
    with atomic_write(path) as file:
        np.savez_compressed(
            file,
            header=np.array(json.dumps(header)),
            offsets=np.cumsum([0, *counts]),
            boxes=boxes,
            labels=labels,
            tokens=tokens,
        )
    return GroundTruthDatabase.load(path)


def _write_header(file, shape: tuple[int, int]) -> None:
    """Header of a .npy file, of one length whatever the shape."""
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    file.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode())


def _frames(dataset: LidarDataset, workers: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Object points (relative to the centres), counts, boxes and labels of each frame."""
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
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
