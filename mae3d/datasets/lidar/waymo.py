"""Waymo, as OpenPCDet prepares it, as a data set for pre-training and detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.files import read_npy
from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.fractions import sequences_of_list, take_fraction
from mae3d.datasets.lidar.frame_index import load_or_read
from mae3d.datasets.lidar.waymo_reader import PROCESSED, read_waymo
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS


@DATASETS.register_module()
class Waymo(LidarDataset):
    """Frames of Waymo in the vehicle's frame.

    Args:
        root: Folder that holds ``ImageSets/`` and the processed sequences.
        split: "train", "val" or "test".
        interval: Use every n-th frame of the split; 5 is the published "20 %" of training frames.
        sequences: Text file of the sequences to use, relative to ``root``, such as the published subsets of the MV-JAR
            benchmark; None: all of the split.
        percent: Share of whole sequences that is used.
        subset: Which draw of sequences; within one, smaller shares lie within larger ones.
        drop_no_label_zones: Drop points in zones where nothing is annotated, as OpenPCDet does.
        tanh_elongation: Squash the elongation as well as the intensity (which is always tanh of the raw value).
        processed: Name of the folder of sequences.
        index_file: Index made by ``tools/prepare_data.py waymo``, relative to ``root``.
        **options: See :class:`LidarDataset`; features "intensity" and "elongation".
    """

    columns = ("intensity", "elongation")

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        interval: int = 1,
        sequences: str | None = None,
        percent: float = 100,
        subset: int = 0,
        drop_no_label_zones: bool = True,
        tanh_elongation: bool = False,
        processed: str = PROCESSED,
        index_file: str | None = None,
        **options: Any,
    ) -> None:
        if interval < 1:
            raise ConfigError(f"Waymo: interval must be at least 1, got {interval}")
        index = load_or_read(root, "waymo", split, index_file, lambda: read_waymo(root, split, processed=processed))
        if sequences is not None:
            index = sequences_of_list(index, Path(root) / sequences)
        index = take_fraction(index, percent, "sequence", subset)
        super().__init__(root, index if interval == 1 else index.select(range(0, len(index), interval)), **options)
        self.drop_no_label_zones = drop_no_label_zones
        self.tanh_elongation = tanh_elongation

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity elongation."""
        rows = read_npy(path, "Run OpenPCDet's preparation of Waymo again.")
        if rows.ndim != 2 or rows.shape[1] < 6:
            raise DataError(
                f"{path}: must be [N, 6 or more] (x y z intensity elongation no-label-zone), got {list(rows.shape)}"
            )
        points = rows[:, :5].astype(np.float32)
        if self.drop_no_label_zones:
            points = points[rows[:, 5] == -1]
        squashed = slice(3, 5) if self.tanh_elongation else slice(3, 4)
        points[:, squashed] = np.tanh(points[:, squashed])
        return points
