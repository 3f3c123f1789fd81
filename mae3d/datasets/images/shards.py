"""Images in shards: parquet files of encoded images, HDF5 files of pixels or encoded images."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mae3d.datasets.images.base import ImageDataset, decode_image
from mae3d.datasets.transforms.image.frames import FrameTransform
from mae3d.errors import DataError, MissingExtraError
from mae3d.registry import DATASETS


def find_shards(path: str | Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The file itself, or the sorted files of a folder with one of the suffixes."""
    path = Path(path)
    shards = [path] if path.is_file() else sorted(p for p in path.glob("*") if p.suffix in suffixes)
    if not shards:
        raise DataError(f"{path}: no file or folder with {' or '.join(suffixes)} files")
    return shards


class _Shards(ImageDataset):
    """Samples of several files, counted through; files are opened once in every process."""

    def __init__(
        self, shards: list[Path], transforms: Sequence[dict | FrameTransform], options: dict[str, Any]
    ) -> None:
        super().__init__(transforms, **options)
        self.shards = shards
        self._handles: dict[tuple[int, int], Any] = {}
        counts = [self._count(number) for number in range(len(shards))]
        self.ends = list(accumulate(counts))
        if not self.ends[-1]:
            raise DataError(f"{shards[0].parent}: the {len(shards)} files hold no sample")
        self.prepare_skipping()

    @abstractmethod
    def _count(self, shard: int) -> int:
        """Samples of a shard."""

    @abstractmethod
    def _open(self, path: Path) -> Any:
        """Its file, ready to be read."""

    def handle(self, shard: int) -> Any:
        """The opened file."""
        key = (os.getpid(), shard)
        if key not in self._handles:
            self._handles[key] = self._open(self.shards[shard])
        return self._handles[key]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handles": {}}

    def __len__(self) -> int:
        return self.ends[-1]

    def locate(self, index: int) -> tuple[int, int]:
        """Shard and row of a sample."""
        shard = bisect_right(self.ends, int(index))
        return shard, int(index) - (self.ends[shard - 1] if shard else 0)

    def sample_name(self, index: int) -> str:
        """File and row."""
        shard, row = self.locate(index)
        return f"{self.shards[shard]}[{row}]"


@DATASETS.register_module()
class ParquetImages(_Shards):
    """Rows of parquet files, as data-set hubs store images: a struct of ``bytes`` (and ``path``), or plain bytes.

    A read fetches a whole row group, and the last one is kept: small row groups (100 rows) make shuffled reading fast.

    Args:
        path: A file, or a folder of .parquet files.
        transforms: See :class:`ImageDataset`.
        image_column: Column of the images.
        label_column: Column of integer classes; None for none.
        **options: See :class:`ImageDataset`.

    Raises:
        MissingExtraError: pyarrow is not installed.
        DataError: A file or column is missing or unreadable.
    """

    def __init__(
        self,
        path: str | Path,
        transforms: Sequence[dict | FrameTransform] = (),
        *,
        image_column: str = "image",
        label_column: str | None = "label",
        **options: Any,
    ) -> None:
        self.image_column, self.label_column = image_column, label_column
        self._group: tuple[int, int, Any] = (-1, -1, None)
        self._group_ends: list[list[int]] = []
        super().__init__(find_shards(path, (".parquet",)), transforms, options)
        self.classes = self._class_names()

    def _open(self, path: Path) -> Any:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError as error:
            raise MissingExtraError("pyarrow", "images", f"reading {path.name}") from error
        try:
            file = parquet.ParquetFile(path)
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise DataError(f"{path}: not a readable parquet file ({error})") from error
        missing = {self.image_column, self.label_column or self.image_column} - set(file.schema_arrow.names)
        if missing:
            raise DataError(f"{path}: lacks the columns {sorted(missing)}, it has {file.schema_arrow.names}")
        return file

    def _count(self, shard: int) -> int:
        metadata = self.handle(shard).metadata
        sizes = (metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
        self._group_ends.append(list(accumulate(sizes)))
        return metadata.num_rows

    def _class_names(self) -> tuple[str, ...]:
        """Names that hubs write into the schema."""
        notes = self.handle(0).schema_arrow.metadata or {}
        features = json.loads(notes.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        return tuple(features.get(self.label_column or "", {}).get("names", ()))

    def load_image(self, index: int) -> tuple[Image.Image, int | None]:
        """The decoded image and its class."""
        shard, row = self.locate(index)
        ends = self._group_ends[shard]
        group = bisect_right(ends, row)
        row -= ends[group - 1] if group else 0
        if self._group[:2] != (shard, group):
            columns = [self.image_column] + ([self.label_column] if self.label_column else [])
            self._group = (shard, group, self.handle(shard).read_row_group(group, columns=columns))
        table = self._group[2]
        cell = table[self.image_column][row].as_py()
        data = cell["bytes"] if isinstance(cell, dict) else cell
        if not isinstance(data, bytes):
            raise DataError(f"{self.sample_name(index)}: column {self.image_column} holds no encoded image")
        label = None if self.label_column is None else int(table[self.label_column][row].as_py())
        return decode_image(data, self.sample_name(index)), label


@DATASETS.register_module()
class Hdf5Images(_Shards):
    """Rows of HDF5 files: an array of pixels uint8 [N, rows, columns(, 3)], or of encoded images (bytes).

    Args:
        path: A file, or a folder of .h5 / .hdf5 files.
        transforms: See :class:`ImageDataset`.
        image_name: Name of the array of images.
        label_name: Name of the integer array [N] of classes; None for none.
        classes: Names of the classes.
        **options: See :class:`ImageDataset`.

    Raises:
        MissingExtraError: h5py is not installed.
        DataError: A file or array is missing or unreadable.
    """

    def __init__(
        self,
        path: str | Path,
        transforms: Sequence[dict | FrameTransform] = (),
        *,
        image_name: str = "images",
        label_name: str | None = "labels",
        classes: Sequence[str] = (),
        **options: Any,
    ) -> None:
        self.image_name, self.label_name = image_name, label_name
        super().__init__(find_shards(path, (".h5", ".hdf5")), transforms, options)
        self.classes = tuple(classes)

    def _open(self, path: Path) -> Any:
        try:
            import h5py
        except ImportError as error:
            raise MissingExtraError("h5py", "images", f"reading {path.name}") from error
        try:
            file = h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{path}: not a readable HDF5 file ({error})") from error
        missing = [name for name in (self.image_name, self.label_name) if name is not None and name not in file]
        if missing:
            raise DataError(f"{path}: lacks the arrays {missing}, it holds {sorted(file)}")
        return file

    def _count(self, shard: int) -> int:
        return len(self.handle(shard)[self.image_name])

    def load_image(self, index: int) -> tuple[Image.Image | np.ndarray, int | None]:
        """Pixels, or the decoded image, and its class."""
        shard, row = self.locate(index)
        file = self.handle(shard)
        value = file[self.image_name][row]
        label = None if self.label_name is None else int(file[self.label_name][row])
        if isinstance(value, bytes) or value.ndim == 1:
            return decode_image(bytes(value), self.sample_name(index)), label
        if value.dtype != np.uint8 or value.ndim not in (2, 3):
            raise DataError(
                f"{self.sample_name(index)}: expected uint8 [rows, columns(, 3)], "
                f"found {value.dtype} {list(value.shape)}"
            )
        return (value[..., 0] if value.ndim == 3 and value.shape[-1] == 1 else value), label
