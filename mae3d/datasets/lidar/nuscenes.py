"""nuScenes as a data set for pre-training and detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.fractions import take_fraction
from mae3d.datasets.lidar.frame_index import load_or_read
from mae3d.datasets.lidar.nuscenes_infos import read_nuscenes_infos
from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.lidar.point_files import check_column, read_bin
from mae3d.registry import DATASETS


@DATASETS.register_module()
class NuScenes(LidarDataset):
    """Key frames of nuScenes.

    Args:
        root: Folder that holds ``samples/``, ``sweeps/`` and the version folders.
        split: "train", "val", "test", "mini_train" or "mini_val".
        index_file: Index made by ``tools/prepare_data.py nuscenes``, relative to ``root``; it is made in memory from
            the JSON tables where the file is absent.
        infos: Info file of mmdet3d or OpenPCDet to read instead of the JSON tables, relative to ``root``; ``split`` is
            then a name alone.
        percent: Share of the frames that is used.
        fraction: "time" for the published rule by key frame number, "sequence" for whole scenes.
        subset: Which draw of whole scenes; within one, smaller shares lie within larger ones.
        **options: See :class:`LidarDataset`; ``features`` out of "intensity" (0 to 255) and "ring".
    """

    columns = ("intensity", "ring")

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        index_file: str | None = None,
        infos: str | None = None,
        percent: float = 100,
        fraction: Literal["time", "sequence"] = "time",
        subset: int = 0,
        features: tuple[str, ...] = ("intensity",),
        **options: Any,
    ) -> None:
        if infos is not None:
            index = read_nuscenes_infos(Path(root) / infos)
        else:
            index = load_or_read(root, "nuscenes", split, index_file, lambda: read_nuscenes(root, split))
        index = take_fraction(index, percent, fraction, subset)
        super().__init__(root, index, features=features, **options)

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity ring, our axes."""
        points = read_bin(path, 5)
        check_column(points, 4, "the ring of the beam", 31, path, whole=True)
        right = points[:, 0].copy()
        points[:, 0] = points[:, 1]
        np.negative(right, out=points[:, 1])
        return points
