"""Labelled clouds in one .npz file, divided into training and test clouds by a seeded draw."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mae3d.datasets.files import require_file
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Expected arrays: points [M, N, 3], label [M], classes [K]; optional normals [M, N, 3], name [M]."
# Endings that number variants of one model: _A, _02, -3, " b".
VARIANT = re.compile(r"([_\- ]([A-Za-z]|\d+))+$")


def split_by_group(labels: np.ndarray, names: list[str], test_fraction: float, seed: int) -> np.ndarray:
    """bool [M], True for test clouds: about ``test_fraction`` of each class, variants of a model kept together.

    Each class keeps at least one group for training.
    """
    test = np.zeros(len(labels), dtype=bool)
    groups = np.array([VARIANT.sub("", name) for name in names])
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        wanted = round(test_fraction * len(members))
        own_groups = np.unique(groups[members])
        for group in np.random.default_rng((seed, int(label))).permutation(own_groups)[: len(own_groups) - 1]:
            chosen = members[groups[members] == group]
            if test[members].sum() + len(chosen) <= wanted:
                test[chosen] = True
    return test


@DATASETS.register_module()
class LabelledClouds(ObjectDataset):
    """Clouds of a .npz file with the arrays points, label, classes (and normals, name).

    Args:
        path: The .npz file.
        split: "train", "test", or "all".
        test_fraction: Part of each class that is held out; variants of one model (``box_A``, ``box_B``) stay together.
        split_seed: Seed of that division, apart from the seed of point draws.
        npoints: Points kept of each cloud.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        path: str | Path,
        split: Literal["train", "test", "all"] = "train",
        *,
        test_fraction: float = 0.25,
        split_seed: int = 0,
        npoints: int | None = 1024,
        **options: Any,
    ) -> None:
        if split not in ("train", "test", "all"):
            raise ConfigError(f'LabelledClouds: split must be "train", "test" or "all", got {split!r}')
        if not 0 <= test_fraction < 1:
            raise ConfigError(f"LabelledClouds: test_fraction must be in [0, 1), got {test_fraction}")
        super().__init__(npoints=npoints, **options)
        self.path = require_file(Path(path), HINT)
        self._read()
        everything = np.arange(len(self.labels))
        test = split_by_group(self.labels, self.names, test_fraction, split_seed)
        self.rows = {"train": everything[~test], "test": everything[test], "all": everything}[split]
        self.prepare_skipping()

    def _read(self) -> None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                self.clouds, self.labels, classes = file["points"], file["label"].astype(np.int64), file["classes"]
                self.names = (
                    [str(n) for n in file["name"]] if "name" in file else [str(i) for i in range(len(self.labels))]
                )
                normals = file["normals"] if self.use_normals else None
        except (KeyError, ValueError, OSError) as error:
            raise DataError(f"{self.path}: not readable as labelled clouds ({error}). {HINT}") from error
        self.classes = tuple(str(name) for name in classes)
        if self.clouds.ndim != 3 or len(self.clouds) != len(self.labels):
            raise DataError(f"{self.path}: {list(self.clouds.shape)} points, {len(self.labels)} labels. {HINT}")
        if normals is not None:
            self.clouds = np.concatenate([self.clouds, normals.astype(self.clouds.dtype)], axis=2)

    def __len__(self) -> int:
        return len(self.rows)

    def sample_name(self, index: int) -> str:
        """File, row and name of the model."""
        row = int(self.rows[index])
        return f"{self.path}[{row}] ({self.names[row]})"

    def load_cloud(self, index: int) -> Cloud:
        """One cloud and its class."""
        row = int(self.rows[index])
        return Cloud(self.clouds[row], int(self.labels[row]))
