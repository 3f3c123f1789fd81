"""What readers of drives share: earlier sweeps of a frame, and velocities from tracks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mae3d.datasets.lidar.frame_index import Frame
from mae3d.errors import DataError


def earlier_sweeps(
    files: Sequence[str],
    times: np.ndarray,
    poses: np.ndarray,
    number: int,
    max_sweeps: int,
    max_gap: float,
    known: np.ndarray | None = None,
) -> dict[str, Any]:
    """Fields ``sweep_files``, ``sensor_from_sweep`` and ``sweep_lag`` of frame ``number`` of a drive.

    Args:
        files: Point files of the drive in order of time.
        times: float64 [F], seconds.
        poses: float64 [F, 4, 4], world from sensor.
        number: The frame.
        max_sweeps: Point files of a frame, its own included.
        max_gap: Sweeps stop where neighbours are further apart, seconds.
        known: Bool [F], False for frames without a pose; sweeps stop there too.
    """
    first = max(0, number - max_sweeps + 1)
    apart = np.diff(times[first : number + 1]) > max_gap
    if known is not None:
        apart |= ~(known[first:number] & known[number])
    wide = np.flatnonzero(apart)
    chosen = np.arange(number - 1, first + (wide[-1] if len(wide) else -1), -1)
    return {
        "sweep_files": [files[n] for n in chosen],
        "sensor_from_sweep": np.linalg.inv(poses[number]) @ poses[chosen],
        "sweep_lag": times[number] - times[chosen],
    }


def check_times(times: np.ndarray, where: str | Path, names: Sequence[object]) -> None:
    """Refuse times [F] of the sweeps of a drive that do not ascend.

    Raises:
        DataError: Names the first of ``names`` [F] whose time is not finite or before the one ahead of it.
    """
    wrong = ~np.isfinite(times)
    wrong[1:] |= np.diff(times) < 0
    if wrong.any():
        place = int(wrong.argmax())
        raise DataError(
            f"{where}: the time of {names[place]}, {times[place]} s, is not finite or before that of the sweep ahead "
            "of it. Correct the times, or number the files in their order."
        )


def with_velocities(frames: Sequence[Frame], max_gap: float) -> list[Frame]:
    """Frames of one drive whose boxes move as their tracks do.

    The velocity over ground is the difference of the world centres in the frames before and after (one-sided at the
    ends of a track), turned into the sensor frame; NaN where neighbours are more than ``max_gap`` seconds apart.
    """
    seen: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for number, frame in enumerate(frames):
        for row, track in enumerate(frame.tracks):
            seen[track].append((number, row))
    moved = [frame.boxes.copy() for frame in frames]
    for places in seen.values():
        for position, (number, row) in enumerate(places):
            near = places[max(0, position - 1) : position + 2]
            moved[number][row, 7:9] = _velocity(frames, near, number, max_gap)
    return [replace(frame, boxes=boxes) for frame, boxes in zip(frames, moved)]


def _velocity(frames: Sequence[Frame], near: list[tuple[int, int]], number: int, max_gap: float) -> np.ndarray:
    near = [place for place in near if abs(frames[place[0]].time - frames[number].time) <= max_gap]
    elapsed = frames[near[-1][0]].time - frames[near[0][0]].time
    if elapsed <= 0:
        return np.full(2, np.nan)
    ends = [frames[n].world_from_sensor @ np.append(frames[n].boxes[r, :3], 1) for n, r in (near[0], near[-1])]
    world = (ends[1] - ends[0])[:3] / elapsed
    return (frames[number].world_from_sensor[:3, :3].T @ world)[:2]
