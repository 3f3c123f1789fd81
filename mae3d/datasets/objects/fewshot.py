"""ModelNet few-shot episodes: ten stored folds for each way and shot."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from mae3d.datasets.array_pickle import load_array_pickle
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Check the folder with: python tools/prepare_data.py fewshot --root <ModelNetFewshot>"
QUERIES = 20


def fold_path(root: Path, way: int, shot: int, fold: int) -> Path:
    """Pickle of one fold; the folder name comes with or without an underscore."""
    bare = root / f"{way}way{shot}shot"
    folder = bare if bare.is_dir() else root / f"{way}way_{shot}shot"
    return folder / f"{fold}.pkl"


@DATASETS.register_module()
class ModelNetFewShot(ObjectDataset):
    """One fold: ``way`` x ``shot`` clouds to learn from ("train"), ``way`` x 20 to be judged on ("test").

    Clouds [8192, 6] normalised on all points, in random order when training. ``label`` counts from 0 to way - 1.

    Args:
        root: Folder ``ModelNetFewshot``.
        split: "train" or "test".
        way: Classes of an episode.
        shot: Training clouds of a class.
        fold: 0 to 9.
        npoints: Points kept of each cloud, None for all.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        way: int,
        shot: int,
        fold: int,
        npoints: int | None = None,
        **options: Any,
    ) -> None:
        if split not in ("train", "test"):
            raise ConfigError(f'ModelNetFewShot: split must be "train" or "test", got {split!r}')
        sampling = "random" if split == "train" else "first"
        super().__init__(npoints=npoints, **{"sampling": sampling, **options})
        self.path = fold_path(Path(root), way, shot, fold)
        self.split = split
        self.classes = tuple(f"way {label}" for label in range(way))
        self.items = self._read(way * (shot if split == "train" else QUERIES))
        self.prepare_skipping()

    def _read(self, expected: int) -> list[Any]:
        content = load_array_pickle(self.path, HINT)
        if not isinstance(content, dict) or self.split not in content:
            raise DataError(f'{self.path}: expected a dict with "train" and "test". {HINT}')
        items = content[self.split]
        if len(items) != expected:
            raise DataError(f"{self.path}: {len(items)} {self.split} clouds, expected {expected}. {HINT}")
        return items

    def __len__(self) -> int:
        return len(self.items)

    def sample_name(self, index: int) -> str:
        """File and item."""
        return f"{self.path}[{self.split}][{index}]"

    def load_cloud(self, index: int) -> Cloud:
        """Item ``index``: cloud and its label within the episode."""
        item = self.items[index]
        if not isinstance(item, (list, tuple)) or len(item) != 3:
            raise DataError(f"{self.sample_name(index)}: expected (cloud, label, original class). {HINT}")
        return Cloud(np.asarray(item[0]), int(np.asarray(item[1]).reshape(())))
