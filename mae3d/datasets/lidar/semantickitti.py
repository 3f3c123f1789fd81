"""KITTI odometry and SemanticKITTI as a data set for pre-training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import load_or_read
from mae3d.datasets.lidar.odometry_reader import read_semantickitti
from mae3d.datasets.lidar.point_files import check_column, read_bin
from mae3d.registry import DATASETS


@DATASETS.register_module()
class SemanticKitti(LidarDataset):
    """Sweeps of the 22 sequences with their poses.

    Args:
        root: Folder that holds ``sequences/``.
        split: "train", "val", "test", or names of sequences.
        index_file: Index made by ``tools/prepare_data.py semantickitti``, relative to ``root``.
        **options: See :class:`LidarDataset`; the one feature is "intensity" (0 to 1).
    """

    def __init__(
        self, root: str | Path, split: str | Sequence[str], *, index_file: str | None = None, **options: Any
    ) -> None:
        name = split if isinstance(split, str) else "_".join(split)
        index = load_or_read(root, "semantickitti", name, index_file, lambda: read_semantickitti(root, split))
        super().__init__(root, index, **options)

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity."""
        points = read_bin(path, 4)
        check_column(points, 3, "the reflectance", 1, path)
        return points
