"""The KITTI object benchmark as a data set for pre-training and detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import Frame, load_or_read
from mae3d.datasets.lidar.kitti_files import in_image
from mae3d.datasets.lidar.kitti_infos import read_kitti_infos
from mae3d.datasets.lidar.kitti_reader import read_kitti
from mae3d.datasets.lidar.point_files import check_column, read_bin
from mae3d.errors import DataError
from mae3d.registry import DATASETS


@DATASETS.register_module()
class Kitti(LidarDataset):
    """Single frames of the KITTI object benchmark.

    Args:
        root: Folder that holds ``ImageSets/``, ``training/`` and ``testing/``.
        split: "train", "val", "trainval", "test", or "training" for all training frames on disk.
        fov_points_only: Keep the points that fall into the camera's image, the only part that is annotated; the
            published detectors do. Pre-training may use the whole turn.
        index_file: Index made by ``tools/prepare_data.py kitti``, relative to ``root``; it is made in memory where the
            file is absent.
        infos: Info file of OpenPCDet to read instead of the text files, relative to ``root``; ``split`` is then a name
            alone.
        **options: See :class:`LidarDataset`; the one feature is "intensity" (0 to 1).
    """

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        fov_points_only: bool = True,
        index_file: str | None = None,
        infos: str | None = None,
        **options: Any,
    ) -> None:
        if infos is not None:
            index = read_kitti_infos(Path(root) / infos)
        else:
            index = load_or_read(root, "kitti", split, index_file, lambda: read_kitti(root, split))
        super().__init__(root, index, **options)
        self.fov_points_only = fov_points_only

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity."""
        points = read_bin(path, 4)
        check_column(points, 3, "the reflectance", 1, path)
        return points

    def gather_points(self, frame: Frame, generator: np.random.Generator) -> np.ndarray:
        """Points of the frame, those in the image alone with ``fov_points_only``."""
        points = super().gather_points(frame, generator)
        if not self.fov_points_only:
            return points
        extra = frame.extra
        size = int(extra["image_height"]), int(extra["image_width"])
        points = points[in_image(points, extra["image_from_camera"], extra["camera_from_sensor"], size)]
        if len(points) == 0:
            raise DataError(f"{self.root / frame.file}: no point falls into the image; is the calibration its own?")
        return points
