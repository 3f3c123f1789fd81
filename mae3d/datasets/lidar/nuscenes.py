"""nuScenes as a data set for pre-training and detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import FrameIndex, load_or_read
from mae3d.datasets.lidar.nuscenes_infos import read_nuscenes_infos
from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.lidar.point_files import read_bin
from mae3d.errors import ConfigError
from mae3d.registry import DATASETS

FRACTIONS = {
    1: (100, (0,)),
    5: (20, (0,)),
    20: (5, (0,)),
    40: (5, (0, 2)),
    60: (5, (0, 2, 4)),
    80: (5, (0, 1, 2, 3)),
    100: (1, (0,)),
}
"""Percent of labels -> (period, residues): frames sorted by time whose number modulo the period is a residue."""


def fraction_by_time(index: FrameIndex, percent: int) -> FrameIndex:
    """The published label fractions of Voxel-MAE: every n-th key frame in order of time.

    80 % is not a superset of 60 %: it lacks residue 4. Neighbouring frames are half a second apart, so small fractions
    still see every scene; :func:`fraction_by_sequence` leaves whole scenes out.

    Raises:
        ConfigError: a percentage without a published rule.
    """
    if percent not in FRACTIONS:
        raise ConfigError(f"no published rule for {percent} % of the frames; there are {sorted(FRACTIONS)}")
    period, residues = FRACTIONS[percent]
    order = np.argsort(index.time, kind="stable")
    return index.select(np.sort(order[np.isin(np.arange(len(order)) % period, residues)]))


def fraction_by_sequence(index: FrameIndex, percent: float, seed: int = 0) -> FrameIndex:
    """Frames of a random share of the drives; with one seed, smaller shares lie within larger ones."""
    names = np.unique(index.sequence)
    count = max(1, round(len(names) * percent / 100))
    chosen = np.random.default_rng(seed).permutation(names)[:count]
    return index.select(np.flatnonzero(np.isin(index.sequence, chosen)))


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
        percent: int = 100,
        fraction: str = "time",
        features: tuple[str, ...] = ("intensity",),
        **options: Any,
    ) -> None:
        if infos is not None:
            index = read_nuscenes_infos(Path(root) / infos)
        else:
            index = load_or_read(root, "nuscenes", split, index_file, lambda: read_nuscenes(root, split))
        if fraction not in ("time", "sequence"):
            raise ConfigError(f'NuScenes: fraction must be "time" or "sequence", got {fraction!r}')
        if percent != 100:
            index = fraction_by_time(index, percent) if fraction == "time" else fraction_by_sequence(index, percent)
        super().__init__(root, index, features=features, **options)

    def read_points(self, path: Path) -> np.ndarray:
        """x y z intensity ring, our axes."""
        points = read_bin(path, 5)
        right = points[:, 0].copy()
        points[:, 0] = points[:, 1]
        np.negative(right, out=points[:, 1])
        return points
