"""Label fractions: how the literature takes a share of the training frames. Say which rule a number belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from mae3d.datasets.files import read_lines
from mae3d.datasets.lidar.frame_index import FrameIndex
from mae3d.errors import ConfigError, DataError

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


def fraction_by_time(index: FrameIndex, percent: float) -> FrameIndex:
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


def fraction_by_sequence(index: FrameIndex, percent: float, subset: int = 0) -> FrameIndex:
    """Frames of a random share of the drives; within one ``subset`` smaller shares lie within larger ones."""
    names = np.unique(index.sequence)
    count = max(1, round(len(names) * percent / 100))
    chosen = np.random.default_rng(subset).permutation(names)[:count]
    return index.select(np.flatnonzero(np.isin(index.sequence, chosen)))


def sequences_of_list(index: FrameIndex, path: Path) -> FrameIndex:
    """Frames of the drives that a text file names, one a line, as the subsets of the MV-JAR benchmark are published.

    Raises:
        DataError: a missing file, or a drive that is not in the index.
    """
    plain = lambda name: name.removesuffix(".tfrecord").removesuffix("_with_camera_labels")  # noqa: E731
    wanted = {plain(line) for line in read_lines(path, "Expected names of sequences, one a line.")}
    own = np.array([plain(str(name)) for name in index.sequence])
    missing = sorted(wanted - set(own))
    if missing:
        raise DataError(f"{path}: {len(missing)} of {len(wanted)} sequences are not in the split, such as {missing[0]}")
    return index.select(np.flatnonzero(np.isin(own, sorted(wanted))))


def take_fraction(
    index: FrameIndex, percent: float, rule: Literal["time", "sequence"] = "time", subset: int = 0
) -> FrameIndex:
    """``percent`` of an index by either rule; 100 is all of it.

    Raises:
        ConfigError: an unknown rule, a percentage out of (0, 100] or without a published rule.
    """
    if rule not in ("time", "sequence"):
        raise ConfigError(f'fraction must be "time" or "sequence", got {rule!r}')
    if not 0 < percent <= 100:
        raise ConfigError(f"percent must be in (0, 100], got {percent}")
    if percent == 100:
        return index
    return fraction_by_time(index, percent) if rule == "time" else fraction_by_sequence(index, percent, subset)
