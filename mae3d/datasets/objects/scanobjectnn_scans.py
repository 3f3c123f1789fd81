"""ScanObjectNN as it was scanned: clouds of any size with colours, one file each (what P3P fine-tunes on)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.files import read_lines, require_file
from mae3d.datasets.objects.depth_lifting import normalize_colors
from mae3d.datasets.objects.scanobjectnn import CLASSES
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Check the folder with: python tools/prepare_data.py scanobjectnn --root <ScanObjectNN>"
FOLDERS = {"OBJ_BG": "object_dataset", "OBJ_ONLY": "object_dataset", "PB_T50_RS": "PB_T50_RS"}
SPLIT_FILES = ("split_new.txt", "split.txt")
COLUMNS = 11
"""x y z, normal, r g b in 0 to 255, object number, kind of thing (0 not annotated, 1 wall, 2 floor)."""
NO_OBJECT = (0, 1, 2)


def read_split(root: Path, folder: str) -> dict[str, Literal["train", "test"]]:
    """Name of a scan without its ending -> its split.

    A line of the split file is ``NAME.bin``, the number of the class and, for a test scan, ``t``, with tabs between.
    ``PB_T50_RS`` needs no list of its own: that of ``object_dataset`` beside it serves.
    """
    places = (root / place / name for place in (folder, "object_dataset") for name in SPLIT_FILES)
    found = [path for path in places if path.is_file()]
    if not found:
        raise DataError(f"{root / folder / SPLIT_FILES[0]}: file is missing. {HINT}")
    split: dict[str, Literal["train", "test"]] = {}
    for number, line in enumerate(read_lines(found[0], HINT), start=1):
        name, *rest = line.split("\t")
        if len(rest) not in (1, 2):
            raise DataError(f"{found[0]}: line {number} is {line!r}, expected NAME.bin, a class and t for a test scan")
        split[Path(name).stem] = "test" if len(rest) == 2 else "train"
    return split


def read_scan(path: Path) -> np.ndarray:
    """float32 [N, 11] of a scan file: the number of points, then their columns.

    Raises:
        DataError: The file is missing, cut off, or of another layout.
    """
    values = np.fromfile(require_file(path, HINT), dtype="<f4")
    count = int(values[0]) if np.isfinite(values[:1]).all() and len(values) else -1
    if count < 1 or len(values) != 1 + count * COLUMNS:
        raise DataError(
            f"{path}: {len(values)} numbers are no count followed by {COLUMNS} of each of {count} points; the file is "
            f"cut off or of another kind. {HINT}"
        )
    return values[1:].reshape(count, COLUMNS)


def object_points(scan: np.ndarray, name: str) -> np.ndarray:
    """The points of the object: of the kind most frequent beside walls, floors and what is not annotated."""
    kinds, counts = np.unique(scan[:, -1], return_counts=True)
    counts = np.where(np.isin(kinds, NO_OBJECT), 0, counts)
    if not counts.any():
        raise DataError(f"{name}: no point belongs to an object, only to kinds {kinds.tolist()}. Leave the file out.")
    return scan[scan[:, -1] == kinds[counts.argmax()]]


@DATASETS.register_module()
class ScanObjectNNScans(SampleDataset):
    """Clouds of x y z (r g b), y up as in the files, colours normalised, neither centred nor scaled.

    A sample is ``{"points": float32 [N, 6 or 3], "label": int64, "index": int64}``, each of its own size.

    Args:
        root: Folder that holds ``object_dataset/split_new.txt`` and ``object_dataset/CLASS/NAME.bin`` (and
            ``PB_T50_RS/CLASS/*.bin``).
        split: "train" or "test".
        variant: "OBJ_BG", "OBJ_ONLY" (without background) or "PB_T50_RS", whose files are perturbed copies of a scan
            and belong to its split.
        color: Whether points carry their colours.
        npoints: Larger clouds lose random points; None keeps all.
        **options: ``seed`` and ``on_error`` of :class:`SampleDataset`.

    Raises:
        DataError: A folder or list is missing, or names no scan that is there.
    """

    classes = CLASSES

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        variant: str = "PB_T50_RS",
        color: bool = True,
        npoints: int | None = 100_000,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if split not in ("train", "test"):
            raise ConfigError(f'ScanObjectNNScans: split must be "train" or "test", got {split!r}')
        if variant not in FOLDERS:
            raise ConfigError(f"ScanObjectNNScans: variant must be one of {', '.join(FOLDERS)}, got {variant!r}")
        if npoints is not None and npoints < 1:
            raise ConfigError(f"ScanObjectNNScans: npoints must be at least 1 or None, got {npoints}")
        self.variant, self.color, self.npoints = variant, color, npoints
        folder = Path(root) / FOLDERS[variant]
        splits = read_split(Path(root), FOLDERS[variant])
        of_scan = splits.get if variant != "PB_T50_RS" else lambda stem: splits.get(scan_of(stem, splits))
        paths = (path for name in CLASSES for path in sorted((folder / name).glob("*.bin")))
        self.paths = [path for path in paths if of_scan(path.stem) == split]
        if not self.paths:
            raise DataError(f"{folder}: no CLASS/NAME.bin is a {split} scan of the split file. {HINT}")
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.paths)

    def sample_name(self, index: int) -> str:
        """Path of the scan."""
        return str(self.paths[index])

    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``."""
        path = self.paths[index]
        scan = read_scan(path)
        if not np.isfinite(scan).all():
            raise DataError(f'{path}: holds NaN or infinite numbers. Repair the file or set on_error="skip".')
        if self.variant == "OBJ_ONLY":
            scan = object_points(scan, str(path))
        if self.npoints is not None and len(scan) > self.npoints:
            scan = scan[self.random_generator(index).permutation(len(scan))[: self.npoints]]
        points = scan[:, :3]
        if self.color:
            points = np.concatenate((points, normalize_colors(scan[:, 6:9])), axis=1)
        return {
            "points": torch.from_numpy(np.ascontiguousarray(points)),
            "label": torch.tensor(CLASSES.index(path.parent.name), dtype=torch.int64),
            "index": torch.tensor(int(index), dtype=torch.int64),
        }


def scan_of(stem: str, scans: dict[str, Any]) -> str | None:
    """The scan whose name is part of a copy's name, bounded by underscores; of several the longest."""
    parts = stem.split("_")
    for length in range(len(parts), 0, -1):
        for first in range(len(parts) - length + 1):
            name = "_".join(parts[first : first + length])
            if name in scans:
                return name
    return None
