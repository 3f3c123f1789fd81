"""ONCE as a data set for pre-training and detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import load_or_read
from mae3d.datasets.lidar.once_reader import read_once
from mae3d.datasets.lidar.point_files import check_column, read_bin
from mae3d.registry import DATASETS


@DATASETS.register_module()
class Once(LidarDataset):
    """Frames of ONCE, turned so that x looks ahead.

    Args:
        root: Folder that holds ``ImageSets/`` and ``data/``.
        split: "train", "val", "test", "raw_small", "raw_medium" or "raw_large" (unlabelled, for pre-training).
        index_file: Index made by ``tools/prepare_data.py once``, relative to ``root``.
        **options: See :class:`LidarDataset`; the one feature is "intensity" (0 to 255).
    """

    def __init__(self, root: str | Path, split: str, *, index_file: str | None = None, **options: Any) -> None:
        index = load_or_read(root, "once", split, index_file, lambda: read_once(root, split))
        super().__init__(root, index, **options)

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity, our axes."""
        points = read_bin(path, 4)
        check_column(points, 3, "the intensity", 255, path)
        left = points[:, 0].copy()
        np.negative(points[:, 1], out=points[:, 0])
        points[:, 1] = left
        return points
