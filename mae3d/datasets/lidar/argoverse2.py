"""Argoverse 2 (sensor data set) as a data set for pre-training and detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.lidar.argoverse2_reader import read_argoverse2, read_feather
from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import load_or_read
from mae3d.registry import DATASETS


@DATASETS.register_module()
class Argoverse2(LidarDataset):
    """Sweeps of Argoverse 2, in the ego frame (origin at the centre of the rear axle).

    Needs the extra ``argoverse``.

    Args:
        root: Folder that holds ``train/``, ``val/`` and ``test/``.
        split: One of them; None: the logs lie in ``root`` itself.
        index_file: Index made by ``tools/prepare_data.py argoverse2``, relative to ``root``.
        **options: See :class:`LidarDataset`; features "intensity" (0 to 255), "laser" (0 to 63: two lidars of 32
            beams) and "offset" (seconds since the sweep began).
    """

    columns = ("intensity", "laser", "offset")

    def __init__(
        self,
        root: str | Path,
        split: str | None = None,
        *,
        index_file: str | None = None,
        features: tuple[str, ...] = ("intensity",),
        **options: Any,
    ) -> None:
        index = load_or_read(root, "argoverse2", split or "all", index_file, lambda: read_argoverse2(root, split))
        super().__init__(root, index, features=features, **options)

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity laser offset."""
        table = read_feather(path, ("x", "y", "z", "intensity", "laser_number", "offset_ns"))
        columns = [values.astype(np.float32) for values in table.values()]
        columns[-1] *= 1e-9
        return np.stack(columns, axis=1)
