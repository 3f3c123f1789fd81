"""ModelNet40 as HDF5 of 2048-point clouds: the set on which linear SVMs are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from mae3d.datasets.files import read_hdf5, read_lines
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Check the folder with: python tools/prepare_data.py modelnet40_hdf5 --root <modelnet40_ply_hdf5_2048>"


def list_files(root: Path, split: str) -> list[Path]:
    """The HDF5 files of a split, in order."""
    files = sorted(root.glob(f"ply_data_{split}*.h5"))
    if not files:
        raise DataError(f"{root}: no file ply_data_{split}*.h5. {HINT}")
    return files


@DATASETS.register_module()
class ModelNet40HDF5(ObjectDataset):
    """Clouds [2048, 3] read whole into memory; the first ``npoints`` of each are kept, unnormalised, as published.

    Args:
        root: Folder ``modelnet40_ply_hdf5_2048`` with ``ply_data_{train,test}*.h5`` (``data``, ``label``).
        split: "train" or "test".
        npoints: Points kept of each cloud.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        npoints: int | None = 1024,
        **options: Any,
    ) -> None:
        if split not in ("train", "test"):
            raise ConfigError(f'ModelNet40HDF5: split must be "train" or "test", got {split!r}')
        super().__init__(npoints=npoints, **{"sampling": "first", "normalize": "never", **options})
        self.files = list_files(Path(root), split)
        parts = [read_hdf5(path, ("data", "label"), HINT) for path in self.files]
        self._check_shapes(parts)
        self.clouds = np.concatenate([data for data, _ in parts])  # [n, 2048, 3]
        self.labels = np.concatenate([label.reshape(-1) for _, label in parts]).astype(np.int64)
        self._ends = np.cumsum([len(data) for data, _ in parts])
        names = Path(root) / "shape_names.txt"
        if names.is_file():
            self.classes = tuple(read_lines(names, HINT))
        else:
            self.classes = tuple(str(label) for label in range(max(40, int(self.labels.max(initial=0)) + 1)))
        self.prepare_skipping()

    def _check_shapes(self, parts: list[tuple[np.ndarray, ...]]) -> None:
        for path, (data, label) in zip(self.files, parts):
            if data.ndim != 3 or len(data) != label.size:
                raise DataError(
                    f"{path}: expected data [n, 2048, 3] and label [n, 1], found {list(data.shape)} and "
                    f"{list(label.shape)}. {HINT}"
                )

    def __len__(self) -> int:
        return len(self.labels)

    def sample_name(self, index: int) -> str:
        """File and row."""
        file = int(np.searchsorted(self._ends, index, side="right"))
        first = int(self._ends[file - 1]) if file else 0
        return f"{self.files[file]}[{index - first}]"

    def load_cloud(self, index: int) -> Cloud:
        """Row ``index`` of the joined files."""
        return Cloud(self.clouds[index], int(self.labels[index]))
