"""ScanObjectNN: real scans of 15 classes, with and without background, upright or perturbed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from mae3d.datasets.files import read_hdf5
from mae3d.datasets.objects.base import Cloud, ObjectDataset
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS

HINT = "Check the folder with: python tools/prepare_data.py scanobjectnn --root <ScanObjectNN>"
CLASSES: tuple[str, ...] = (
    *("bag", "bin", "box", "cabinet", "chair", "desk", "display", "door"),
    *("shelf", "table", "bed", "pillow", "sink", "sofa", "toilet"),
)
# Variant -> (suffix of the split folder, suffix of the file).
VARIANTS = {
    "OBJ_BG": ("", ""),
    "OBJ_ONLY": ("_nobg", ""),
    "PB_T25": ("", "_augmented25_norot"),
    "PB_T25_R": ("", "_augmented25rot"),
    "PB_T50_R": ("", "_augmentedrot"),
    "PB_T50_RS": ("", "_augmentedrot_scale75"),
}


def split_folder(root: Path, name: str) -> Path:
    """``root/name`` or ``root/h5_files/name``: the archive unpacks with that level, some projects drop it."""
    nested = root / "h5_files" / name
    return nested if nested.is_dir() and not (root / name).is_dir() else root / name


def file_path(root: Path, split: str, variant: str, fold: str = "main_split") -> Path:
    """HDF5 file of a variant."""
    folder, suffix = VARIANTS[variant]
    prefix = "training" if split == "train" else "test"
    return split_folder(root, fold + folder) / f"{prefix}_objectdataset{suffix}.h5"


@DATASETS.register_module()
class ScanObjectNN(ObjectDataset):
    """Clouds [2048, 3] read whole into memory, not normalised; in random point order when training.

    Args:
        root: Folder that holds ``main_split`` (and ``main_split_nobg``), directly or under ``h5_files``.
        split: "train" or "test".
        variant: "OBJ_BG", "OBJ_ONLY", "PB_T50_RS" (the hardest, and the usual one), "PB_T25", "PB_T25_R", "PB_T50_R".
        fold: "main_split" or one of the other published splits "split1" to "split4".
        npoints: Points kept of each cloud, None for all.
        **options: See :class:`mae3d.datasets.objects.base.ObjectDataset`.
    """

    classes = CLASSES

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "test"] = "train",
        *,
        variant: str = "PB_T50_RS",
        fold: str = "main_split",
        npoints: int | None = None,
        **options: Any,
    ) -> None:
        if split not in ("train", "test"):
            raise ConfigError(f'ScanObjectNN: split must be "train" or "test", got {split!r}')
        if variant not in VARIANTS:
            raise ConfigError(f"ScanObjectNN: variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
        sampling = "random" if split == "train" else "first"
        super().__init__(npoints=npoints, **{"sampling": sampling, "normalize": "never", **options})
        self.path = file_path(Path(root), split, variant, fold)
        self.clouds, labels = read_hdf5(self.path, ("data", "label"), HINT)
        if self.clouds.ndim != 3 or len(self.clouds) != labels.size:
            raise DataError(
                f"{self.path}: expected data [n, 2048, 3] and label [n], found {list(self.clouds.shape)} and "
                f"{list(labels.shape)}. {HINT}"
            )
        self.labels = labels.reshape(-1).astype(np.int64)
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.labels)

    def sample_name(self, index: int) -> str:
        """File and row."""
        return f"{self.path}[{index}]"

    def load_cloud(self, index: int) -> Cloud:
        """Row ``index``."""
        return Cloud(self.clouds[index], int(self.labels[index]))
