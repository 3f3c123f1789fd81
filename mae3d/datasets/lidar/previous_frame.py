"""Which earlier frame comes with each frame, for methods that look at two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mae3d.datasets.lidar.frame_index import FrameIndex
from mae3d.errors import ConfigError


@dataclass(frozen=True)
class PreviousFrame:
    """The sweep some way before each frame.

    Published for T-MAE: on ONCE two frames (a second) before in training, ``gaps=(2,)``, and one in evaluation, first
    frames with themselves; on Waymo three to five sweeps, ``gaps=(3, 4, 4, 5)``.

    Attributes:
        gaps: How many of the indexed sweeps back; one of the numbers is drawn each time, so repeated ones weigh more.
            Where a recording has fewer before a frame, the farthest there is.
        first: Frames without an earlier one, as the first of a drive and those behind a gap in it: "itself" pairs them
            with themselves, "drop" leaves them out.

    Raises:
        ConfigError: No gap, one below 1, or another value of ``first``.
    """

    gaps: Sequence[int] = (1,)
    first: Literal["itself", "drop"] = "itself"

    def __post_init__(self) -> None:
        if not self.gaps or min(self.gaps) < 1:
            raise ConfigError(f"PreviousFrame: gaps must be numbers of at least 1, got {list(self.gaps)}")
        if self.first not in ("itself", "drop"):
            raise ConfigError(f'PreviousFrame: first must be "itself" or "drop", got {self.first!r}')

    def usable(self, index: FrameIndex, root: Path) -> FrameIndex:
        """The frames of ``index`` that are used; ``root`` is named in errors.

        Raises:
            ConfigError: No frame has an earlier one, or none reaches as far back as a gap.
        """
        there = np.diff(index.sweep_offsets)
        if there.max(initial=0) == 0:
            raise ConfigError(
                f"{root}: none of the {len(index)} frames has an earlier sweep. Two-frame methods need drives with "
                "poses; is the file of poses there (poses.csv of a SequenceFolder)?"
            )
        if max(self.gaps) > there.max():
            raise ConfigError(
                f"{root}: gaps={list(self.gaps)} reach farther than the {there.max()} earlier sweeps that the "
                "index holds at most; choose smaller gaps, or make the index with more sweeps"
            )
        return index if self.first == "itself" else index.select(np.flatnonzero(there))

    def choose(self, there: int, generator: np.random.Generator) -> int | None:
        """Number of the sweep, 0 the nearest, out of ``there``; None for the frame itself."""
        gap = int(generator.choice(self.gaps)) if len(self.gaps) > 1 else self.gaps[0]
        return min(gap, there) - 1 if there else None
