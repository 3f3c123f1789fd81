"""ModelNet40 with normals: text files of about 10,000 points, or the 8192-point cache built from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mae3d.datasets.array_pickle import load_array_pickle
from mae3d.datasets.files import read_lines, read_table
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.errors import ConfigError, DataError
from mae3d.ops import furthest_point_sample
from mae3d.registry import DATASETS

HINT = "Check the folder with: python tools/prepare_data.py modelnet40 --root <modelnet40_normal_resampled>"
STORED_POINTS = 8192
CLASSES: tuple[str, ...] = (
    *("airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone"),
    *("cup", "curtain", "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp"),
    *("laptop", "mantel", "monitor", "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink"),
    *("sofa", "stairs", "stool", "table", "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox"),
)
"""The 40 classes of the published ``modelnet40_shape_names.txt``."""


def cache_path(root: Path, split: str, num_category: int = 40) -> Path:
    """Where the cache of a split lies."""
    return root / f"modelnet{num_category}_{split}_{STORED_POINTS}pts_fps.dat"


def reduce_cloud(points: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Furthest-point subset [count, C] of ``points`` [N, C] from a random first index, in order of choice.

    This is how the published cache was made: no point near the origin is passed over.
    """
    start = torch.tensor([int(generator.integers(len(points)))])
    chosen = furthest_point_sample(torch.from_numpy(points[None, :, :3].copy()), count, start=start)[0]
    return points[chosen.numpy()]


def read_cache(path: Path) -> tuple[list[np.ndarray], list[int]]:
    """Clouds and labels of a cache file: pickle ``[list of [8192, 6] arrays, list of [1] arrays]``."""
    content = load_array_pickle(path, HINT)
    if not isinstance(content, (list, tuple)) or len(content) != 2 or len(content[0]) != len(content[1]):
        raise DataError(f"{path}: expected two lists of equal length (clouds, labels). {HINT}")
    try:
        return list(content[0]), [int(np.asarray(label).reshape(())) for label in content[1]]
    except (TypeError, ValueError) as error:
        raise DataError(f"{path}: labels must be single integers ({error}). {HINT}") from error


@DATASETS.register_module()
class ModelNet40(ObjectDataset):
    """12,311 clouds of 40 classes, normalised on all 8192 points; y is up.

    Files under ``root``: ``modelnet40_{shape_names,train,test}.txt``, ``CLASS/CLASS_0001.txt`` (x,y,z,nx,ny,nz),
    ``modelnet40_{train,test}_8192pts_fps.dat``. As published, a sample keeps all 8192 points, in random order when
    training; the preprocessor then reduces the batch (``SampleFarthest``). Without the cache, each text file is
    reduced to 8192 points when it is read: slow, so build it with ``tools/prepare_data.py modelnet40``.

    Args:
        root: Folder ``modelnet40_normal_resampled``.
        split: "train" (9,843) or "test" (2,468).
        source: "cache", "text", or "auto": the cache where it exists.
        num_category: 40 or 10.
        npoints: Points kept of each cloud, None for all.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        source: Literal["auto", "cache", "text"] = "auto",
        num_category: int = 40,
        npoints: int | None = None,
        **options: Any,
    ) -> None:
        if split not in ("train", "test"):
            raise ConfigError(f'ModelNet40: split must be "train" or "test", got {split!r}')
        if source not in ("auto", "cache", "text"):
            raise ConfigError(f'ModelNet40: source must be "auto", "cache" or "text", got {source!r}')
        sampling = "random" if split == "train" else "first"
        super().__init__(npoints=npoints, **{"sampling": sampling, **options})
        self.root = Path(root)
        self.classes = tuple(read_lines(self.root / f"modelnet{num_category}_shape_names.txt", HINT))
        self.names = read_lines(self.root / f"modelnet{num_category}_{split}.txt", HINT)
        self._label = {name: label for label, name in enumerate(self.classes)}
        self._check_names(self.root / f"modelnet{num_category}_{split}.txt")
        self.cache: Path | None = cache_path(self.root, split, num_category)
        if source == "text" or (source == "auto" and not self.cache.exists()):
            self.cache = None
        self._read_cache()
        self.prepare_skipping()

    def _check_names(self, path: Path) -> None:
        for number, name in enumerate(self.names, start=1):
            if name.rsplit("_", 1)[0] not in self._label:
                raise DataError(
                    f"{path}, line {number}: {name!r} is of none of the {len(self.classes)} classes. {HINT}"
                )

    def _read_cache(self) -> None:
        if self.cache is None:
            return
        self._clouds, self._labels = read_cache(self.cache)
        if len(self._clouds) != len(self.names):
            raise DataError(
                f"{self.cache}: holds {len(self._clouds)} clouds, the list {len(self.names)}; it was built from "
                "another list. Delete it and run: python tools/prepare_data.py modelnet40 --root <folder>"
            )

    def __len__(self) -> int:
        return len(self.names)

    def _text_path(self, index: int) -> Path:
        name = self.names[index]
        return self.root / name.rsplit("_", 1)[0] / f"{name}.txt"

    def sample_name(self, index: int) -> str:
        """Path of the text file, or the cache and the place in it."""
        if self.cache is None:
            return str(self._text_path(index))
        return f"{self.cache}[{index}] ({self.names[index]})"

    def load_cloud(self, index: int) -> Cloud:
        """The stored cloud [8192, 6] and its class."""
        if self.cache is not None:
            return Cloud(np.asarray(self._clouds[index]), self._labels[index])
        points = read_table(self._text_path(index), HINT)
        label = self._label[self.names[index].rsplit("_", 1)[0]]
        if points.shape[1] >= 3 and len(points) > STORED_POINTS and np.isfinite(points).all():
            # Not the epoch's generator: as in a cache, the subset of a file is the same in every epoch.
            points = reduce_cloud(points, STORED_POINTS, np.random.default_rng((self.seed, index)))
        return Cloud(points, label)
