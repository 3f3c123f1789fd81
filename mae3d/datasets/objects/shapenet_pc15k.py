"""ShapeNetCore.v2.PC15k: 15,000 points on each ShapeNet model, as PointFlow published it for generation."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mae3d.datasets.files import atomic_write, read_npy, require_file
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.datasets.objects.shapenet_synsets import SHAPENET_NAMES, SYNSETS
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Check the folder with: python tools/prepare_data.py shapenet15k --root <ShapeNetCore.v2.PC15k>"
SPLITS = ("train", "val", "test")
TRAIN_POINTS = 10_000
"""Stored points 0 to 9,999 are for training, the 5,000 behind them for reference clouds."""
SHUFFLE_SEED = 38383
MOMENTS_FILE = "train_moments.json"


@dataclass(frozen=True)
class Moments:
    """Sums over the points of some clouds; those of several categories add up.

    Attributes:
        clouds: Number of clouds.
        points: Number of points.
        total: Sum of x, y and z.
        squares: Sum of x^2 + y^2 + z^2.
    """

    clouds: int
    points: int
    total: tuple[float, float, float]
    squares: float

    def __add__(self, other: Moments) -> Moments:
        total = tuple(a + b for a, b in zip(self.total, other.total))
        return Moments(self.clouds + other.clouds, self.points + other.points, total, self.squares + other.squares)

    @property
    def mean(self) -> np.ndarray:
        """float64 [3]."""
        return np.array(self.total) / self.points

    @property
    def std(self) -> float:
        """One number: the deviation of all coordinates, x, y and z alike, from their common mean."""
        values = 3 * self.points
        variance = self.squares / values - (sum(self.total) / values) ** 2
        return float(np.sqrt(variance)) if variance > 0 else 1.0


def list_clouds(root: Path, synset: str, split: str) -> list[Path]:
    """Files ``<root>/SYNSET/SPLIT/ID.npy``, sorted."""
    folder = root / synset / split
    found = sorted(folder.glob("*.npy")) if folder.is_dir() else []
    if not found:
        there = sorted(entry.name for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
        raise DataError(
            f"{folder}: no .npy clouds of {SHAPENET_NAMES.get(synset, synset)}. {root} holds "
            f"{', '.join(SHAPENET_NAMES.get(name, name) for name in there[:8]) or 'no category'}. {HINT}"
        )
    return found


def measure_moments(paths: Sequence[Path]) -> Moments:
    """Moments of stored clouds, read one after another."""
    total, squares, points = np.zeros(3), 0.0, 0
    for path in paths:
        cloud = check_stored(path, read_npy(path, HINT)).astype(np.float64)
        total += cloud.sum(axis=0)
        squares += float((cloud**2).sum())
        points += len(cloud)
    return Moments(len(paths), points, tuple(total.tolist()), squares)


def check_stored(path: Path, cloud: np.ndarray) -> np.ndarray:
    """A stored cloud, or an error that names the file where it has another shape or holds no numbers."""
    if cloud.ndim != 2 or cloud.shape[1] != 3 or cloud.dtype.kind not in "fiu" or len(cloud) <= TRAIN_POINTS:
        raise DataError(
            f"{path}: expected numbers of shape [15000, 3] (more than {TRAIN_POINTS} rows, the rest are reference "
            f"points), found {cloud.dtype} {list(cloud.shape)}. {HINT}"
        )
    return cloud


def write_moments(root: Path, moments: dict[str, Moments]) -> None:
    """Keep the moments of training clouds by synset beside them, so that no run reads all clouds again."""
    content = {synset: vars(value) for synset, value in sorted(moments.items())}
    with atomic_write(root / MOMENTS_FILE, "w") as file:
        json.dump(content, file, indent=1)


def read_moments(root: Path) -> dict[str, Moments]:
    """Moments by synset that :func:`write_moments` kept; empty where there are none."""
    path = root / MOMENTS_FILE
    if not path.is_file():
        return {}
    try:
        content = json.loads(require_file(path, HINT).read_text())
        return {
            synset: Moments(row["clouds"], row["points"], tuple(row["total"]), row["squares"])
            for synset, row in content.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not readable ({error!r}). Delete it; prepare_data writes it again.") from error


@DATASETS.register_module()
class ShapeNet15k(ObjectDataset):
    """Clouds of chosen categories in the units of training: mean and deviation of the training clouds taken out.

    Files: ``<root>/SYNSET/{train,val,test}/ID.npy``, float [15000, 3]. A sample holds ``points`` [npoints, 3],
    ``label`` (place of its category in ``categories``), ``index``, and ``mean`` [3] and ``std`` [], which lead back to
    the units of the files. The order of clouds is shuffled once with the published seed. Points are
    ``(stored - mean) / std`` with a mean per axis and one std, over all points of all training clouds of these
    categories, for every split.

    Args:
        root: Folder ``ShapeNetCore.v2.PC15k``.
        split: "train", "val" or "test".
        categories: Names such as "chair", or synsets; "all" takes every category of the folder.
        stored: Which stored points: "train", the first 10,000, or "reference", the rest.
        npoints: Points of a sample; as published drawn with replacement from the first 10,000 for training, and the
            first 2048 of the rest for reference (``sampling="first"``).
        keep_in_memory: Keep clouds once they were read.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`; ``normalize`` is not among them.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val", "test"] = "train",
        *,
        categories: Sequence[str] | str = ("chair",),
        stored: Literal["train", "reference"] = "train",
        npoints: int | None = 2048,
        keep_in_memory: bool = False,
        **options: Any,
    ) -> None:
        if "normalize" in options:
            raise ConfigError("ShapeNet15k: the statistics of the training clouds normalise; drop normalize")
        super().__init__(npoints=npoints, normalize="never", **{"sampling": "replace", **options})
        if split not in SPLITS:
            raise ConfigError(f"ShapeNet15k: split must be one of {SPLITS}, got {split!r}")
        if stored not in ("train", "reference"):
            raise ConfigError(f'ShapeNet15k: stored must be "train" or "reference", got {stored!r}')
        self.root = Path(root)
        self.synsets = find_synsets(self.root, categories)
        self.classes = tuple(SHAPENET_NAMES.get(synset, synset) for synset in self.synsets)
        self.stored = stored
        entries = [
            (path, label) for label, synset in enumerate(self.synsets) for path in list_clouds(self.root, synset, split)
        ]
        random.Random(SHUFFLE_SEED).shuffle(entries)
        self.entries = entries
        self._kept: dict[int, np.ndarray] | None = {} if keep_in_memory else None
        self._moments: Moments | None = None
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def moments(self) -> Moments:
        """Moments of the training clouds of the categories, from the file beside them or measured once."""
        if self._moments is None:
            known = read_moments(self.root)
            parts = [
                known.get(synset) or measure_moments(list_clouds(self.root, synset, "train")) for synset in self.synsets
            ]
            self._moments = sum(parts[1:], start=parts[0])
        return self._moments

    @property
    def mean(self) -> np.ndarray:
        """float64 [3], in the units of the files."""
        return self.moments.mean

    @property
    def std(self) -> float:
        """In the units of the files."""
        return self.moments.std

    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``."""
        units = {"mean": torch.from_numpy(self.mean).float(), "std": torch.tensor(self.std, dtype=torch.float32)}
        return {**super().load(index), **units}

    def sample_name(self, index: int) -> str:
        """Path of the .npy file."""
        return str(self.entries[index][0])

    def load_cloud(self, index: int) -> Cloud:
        """The stored points of the wanted half, normalised."""
        path, label = self.entries[index]
        if self._kept is not None and int(index) in self._kept:
            return Cloud(self._kept[int(index)], label)
        cloud = check_stored(path, read_npy(path, HINT))
        half = cloud[:TRAIN_POINTS] if self.stored == "train" else cloud[TRAIN_POINTS:]
        points = ((half - self.mean) / self.std).astype(np.float32)
        if self._kept is not None:
            self._kept[int(index)] = points
        return Cloud(points, label)


def find_synsets(root: Path, categories: Sequence[str] | str) -> list[str]:
    """Synset offsets of category names, in the order given; "all": those of the folder, sorted."""
    if categories == "all":
        found = sorted(entry.name for entry in root.iterdir() if entry.name in SHAPENET_NAMES) if root.is_dir() else []
        if not found:
            raise DataError(f"{root}: no folder named by a synset such as 03001627. {HINT}")
        return found
    names = [categories] if isinstance(categories, str) else list(categories)
    unknown = [name for name in names if name not in SYNSETS and name not in SHAPENET_NAMES]
    if unknown or not names:
        raise ConfigError(
            f"ShapeNet15k: categories must be ShapeNet names or synsets, got {unknown or names}; "
            "for example airplane, car, chair"
        )
    return [SYNSETS.get(name, name) for name in names]
