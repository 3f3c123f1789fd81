"""ShapeNetPart: 16,881 clouds of 16 classes, each point labelled with one of 50 parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mae3d.datasets.files import read_lines, read_table, require_file
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.datasets.objects.shapenet_synsets import PART_RANGES
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = (
    "Check the folder with: python tools/prepare_data.py shapenetpart "
    "--root <shapenetcore_partanno_segmentation_benchmark_v0_normal>"
)
SPLITS = {"train": ("train",), "val": ("val",), "trainval": ("train", "val"), "test": ("test",)}


def read_categories(root: Path) -> dict[str, str]:
    """Synset offset -> class name, in the order of ``synsetoffset2category.txt`` (= class labels)."""
    path = root / "synsetoffset2category.txt"
    categories = {}
    for number, line in enumerate(read_lines(path, HINT), start=1):
        words = line.split()
        if len(words) != 2:
            raise DataError(f"{path}, line {number}: expected NAME SYNSET, found {line!r}. {HINT}")
        categories[words[1]] = words[0]
    return categories


def read_split(root: Path, split: str) -> list[tuple[str, str]]:
    """(synset, id) of each cloud of ``shuffled_<split>_file_list.json``."""
    path = require_file(root / "train_test_split" / f"shuffled_{split}_file_list.json", HINT)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        pairs = [(entry.split("/")[1], entry.split("/")[2]) for entry in entries]
    except (ValueError, AttributeError, IndexError, TypeError) as error:
        raise DataError(f"{path}: expected a JSON list of PREFIX/SYNSET/ID strings ({error}). {HINT}") from error
    return pairs


@DATASETS.register_module()
class ShapeNetPart(ObjectDataset):
    """Clouds with part labels, normalised on all their points; ``npoints`` are drawn with replacement, as published.

    A sample holds ``points``, ``label`` (class), ``part_label`` (0 to 49) and ``index``.

    Args:
        root: Folder with ``synsetoffset2category.txt``, ``train_test_split/*.json`` and ``SYNSET/ID.txt``
            (x y z nx ny nz part).
        split: "train", "val", "trainval" (the published training set) or "test".
        npoints: Points of a sample.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val", "trainval", "test"] = "trainval",
        *,
        npoints: int | None = 2048,
        **options: Any,
    ) -> None:
        if split not in SPLITS:
            raise ConfigError(f"ShapeNetPart: split must be one of {', '.join(SPLITS)}, got {split!r}")
        super().__init__(npoints=npoints, **{"sampling": "replace", **options})
        self.root = Path(root)
        categories = read_categories(self.root)
        self.classes = tuple(categories.values())
        self.part_ranges = {name: PART_RANGES[name] for name in self.classes if name in PART_RANGES}
        order = {synset: label for label, synset in enumerate(categories)}
        entries = [entry for part in SPLITS[split] for entry in read_split(self.root, part)]
        unknown = next((synset for synset, _ in entries if synset not in order), None)
        if unknown is not None:
            raise DataError(f"{self.root}: the {split} list names synset {unknown}, the category file does not. {HINT}")
        self.entries = sorted(((order[synset], synset, name) for synset, name in entries), key=lambda e: (e[0], e[2]))
        self.prepare_skipping()

    @property
    def metainfo(self) -> dict[str, Any]:
        """Classes and the part labels of each."""
        return {"classes": self.classes, "part_ranges": {k: list(v) for k, v in self.part_ranges.items()}}

    def __len__(self) -> int:
        return len(self.entries)

    def sample_name(self, index: int) -> str:
        """Path of the text file."""
        _, synset, name = self.entries[index]
        return str(self.root / synset / f"{name}.txt")

    def load_cloud(self, index: int) -> Cloud:
        """All points [N, 6], the class and the parts of one file."""
        path = self.sample_name(index)
        table = read_table(Path(path), HINT)
        if table.shape[1] != 7:
            raise DataError(f"{path}: expected 7 columns (x y z nx ny nz part), found {table.shape[1]}. {HINT}")
        label = self.entries[index][0]
        parts = table[:, 6].astype(np.int64)
        known = self.part_ranges.get(self.classes[label], range(50))
        wrong = (parts < known.start) | (parts >= known.stop)
        if wrong.any():
            raise DataError(
                f"{path}: row {int(np.argmax(wrong))} has part {int(parts[np.argmax(wrong)])}, class "
                f"{self.classes[label]} has {known.start}..{known.stop - 1}. {HINT}"
            )
        return Cloud(table[:, :6], label, parts)
