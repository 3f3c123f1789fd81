"""ShapeNet55: the pre-training set of the object-points family (lists and clouds as Point-BERT published them)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from mae3d.datasets.files import read_lines, read_npy
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.datasets.objects.shapenet_synsets import SHAPENET_NAMES
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Check the folder with: python tools/prepare_data.py shapenet55 --root <ShapeNet55-34>"


def read_list(path: Path) -> list[str]:
    """File names ``SYNSET-MODELID.npy`` of a ShapeNet55 list."""
    lines = read_lines(path, HINT)
    for number, line in enumerate(lines, start=1):
        if not line.endswith(".npy") or "-" not in line:
            raise DataError(f"{path}, line {number}: expected SYNSET-MODELID.npy, found {line!r}. {HINT}")
    return lines


@DATASETS.register_module()
class ShapeNet55(ObjectDataset):
    """Clouds [8192, 3] of ShapeNetCore, a random subset of which is kept, then normalised.

    Files: ``<root>/<subset>/{train,test}.txt`` and ``<root>/shapenet_pc/SYNSET-MODELID.npy``. A sample holds
    ``points`` [npoints, 3], ``label`` (place of its synset in the sorted synsets of both lists) and ``index``.

    Args:
        root: Folder ``ShapeNet55-34``.
        split: "train" (41,952 clouds) or "test" (10,518).
        whole: Add the test list to the training list (not the published Point-MAE setting).
        subset: Folder of the lists: "ShapeNet-55", "ShapeNet-34" or "ShapeNet-Unseen21".
        npoints: Points kept of each cloud, drawn anew in every epoch.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        whole: bool = False,
        subset: str = "ShapeNet-55",
        npoints: int | None = 1024,
        **options: Any,
    ) -> None:
        super().__init__(npoints=npoints, **{"normalize": "after", **options})
        if split not in ("train", "test"):
            raise ConfigError(f'ShapeNet55: split must be "train" or "test", got {split!r}')
        self.folder = Path(root) / "shapenet_pc"
        lists = Path(root) / subset
        self.files = read_list(lists / f"{split}.txt")
        other = lists / ("test.txt" if split == "train" else "train.txt")
        others = read_list(other) if whole or other.is_file() else []
        self.synsets = sorted({name.split("-", 1)[0] for name in self.files + others})
        self.classes = tuple(SHAPENET_NAMES.get(synset, synset) for synset in self.synsets)
        self._label = {synset: label for label, synset in enumerate(self.synsets)}
        if whole and split == "train":
            self.files = self.files + others
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.files)

    def sample_name(self, index: int) -> str:
        """Path of the .npy file."""
        return str(self.folder / self.files[index])

    def load_cloud(self, index: int) -> Cloud:
        """The stored cloud [8192, 3] and its class."""
        name = self.files[index]
        return Cloud(read_npy(self.folder / name, HINT), self._label[name.split("-", 1)[0]])
