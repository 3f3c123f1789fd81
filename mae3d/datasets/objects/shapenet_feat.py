"""ShapeNet with normals and surface variations, as MaskFeat3D is pre-trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mae3d import ops
from mae3d.datasets.files import atomic_write, read_lines, read_npy
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.datasets.objects.shapenet_synsets import SHAPENET_NAMES
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Check the folder, and make variations, with: python tools/prepare_data.py shapenet_feat --root <folder>"
NEIGHBOURS = 128
"""Of the published variations."""


def read_models(path: Path) -> list[str]:
    """``SYNSET/ID`` of each line of a list; an ending or further folders behind the ID are left out."""
    models = []
    for number, line in enumerate(read_lines(path, HINT), start=1):
        synset, _, rest = line.partition("/")
        model = rest.partition("/")[0].removesuffix(".npy")
        if not synset or not model:
            raise DataError(f"{path}, line {number}: expected SYNSET/ID, found {line!r}. {HINT}")
        models.append(f"{synset}/{model}")
    return models


def variation_path(root: Path, model: str) -> Path:
    """File of the variations of ``SYNSET/ID``."""
    return root / f"sv_k{NEIGHBOURS}" / f"{model}.npy"


def _write_variation(task: tuple[Path, Path]) -> None:
    source, target = task
    points = read_npy(source, HINT)
    if points.ndim != 2 or points.shape[1] < 3 or not np.isfinite(points).all():
        raise DataError(f"{source}: expected finite numbers [N, 6], found {points.dtype} {list(points.shape)}. {HINT}")
    cloud = torch.from_numpy(points[None, :, :3].astype(np.float32))
    variation = ops.local_surface(cloud, min(NEIGHBOURS, len(points))).variation
    with atomic_write(target) as file:
        np.save(file, variation[0].numpy())


def build_variations(root: Path, *, workers: int = 0, progress: Progress | None = None) -> int:
    """Write the variations that are missing, of the 128 nearest neighbours among all stored points; their number.

    Clouds that are not there are passed over.
    """
    models = [model for split in ("train", "test") for model in read_models(root / f"{split}.txt")]
    tasks = [(root / "pointcloud" / f"{model}.npy", variation_path(root, model)) for model in dict.fromkeys(models)]
    missing = [task for task in tasks if task[0].is_file() and not task[1].is_file()]
    run_parallel(_write_variation, missing, workers=workers, progress=progress)
    return len(missing)


@DATASETS.register_module()
class ShapeNetFeat(ObjectDataset):
    """Clouds [50000, 6] with normals, a random subset of which is kept as it is, and their surface variations.

    Files: ``<root>/{train,test}.txt`` with lines ``SYNSET/ID``, ``<root>/pointcloud/SYNSET/ID.npy`` and
    ``<root>/sv_k128/SYNSET/ID.npy`` [50000]. A sample holds ``points`` [npoints, 6], ``variation`` [npoints], ``label``
    (place of its synset in the sorted synsets of both lists) and ``index``. Clouds are expected to be normalised.

    Args:
        root: Folder of the lists.
        split: "train" or "test".
        whole: Add the test list to the training list, as published.
        npoints: Points kept of each cloud, drawn anew in every epoch.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        whole: bool = True,
        npoints: int | None = 1024,
        **options: Any,
    ) -> None:
        super().__init__(npoints=npoints, **{"normalize": "never", "use_normals": True, **options})
        if split not in ("train", "test"):
            raise ConfigError(f'ShapeNetFeat: split must be "train" or "test", got {split!r}')
        self.root = Path(root)
        lists = {name: read_models(self.root / f"{name}.txt") for name in ("train", "test")}
        self.models = lists["train"] + lists["test"] if whole and split == "train" else lists[split]
        self.synsets = sorted({model.partition("/")[0] for models in lists.values() for model in models})
        self.classes = tuple(SHAPENET_NAMES.get(synset, synset) for synset in self.synsets)
        self._label = {synset: label for label, synset in enumerate(self.synsets)}
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.models)

    def sample_name(self, index: int) -> str:
        """Path of the cloud's .npy file."""
        return str(self.root / "pointcloud" / f"{self.models[index]}.npy")

    def load_cloud(self, index: int) -> Cloud:
        """The stored cloud [50000, 6], its class and its variations."""
        model = self.models[index]
        points = read_npy(Path(self.sample_name(index)), HINT)
        variation = read_npy(variation_path(self.root, model), HINT)
        return Cloud(points, self._label[model.partition("/")[0]], variation=variation)
