"""Sensing on a budget: a scanner that does not fire into some sectors, and what that saves.

R-MAE (arXiv 2406.07833, section 4) proposes that a lidar which feeds a model pre-trained on missing sectors may leave
sectors out for good. The published code has no such inference; this is our own. It works before any detector: as the
last test transform of a :class:`BatchPreprocessor`, or on samples of a data set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae3d.datasets.transforms.lidar.scene import select_rows, uniform
from mae3d.errors import ConfigError
from mae3d.registry import TRANSFORMS

Scene = dict[str, Any]


@dataclass
class SensingReport:
    """Totals over the scenes seen so far.

    Attributes:
        scenes: Number of scenes.
        points: Points that a full turn returned.
        kept_points: Points that were measured.
        pulses: Share of the pulses that were fired at full power, summed over scenes.
        energy: Emitted energy as a share of that of full turns, summed over scenes.
    """

    scenes: int = 0
    points: int = 0
    kept_points: int = 0
    pulses: float = 0.0
    energy: float = 0.0

    @property
    def points_saved(self) -> float:
        """Share of the points that were not measured, in [0, 1]."""
        return 1 - self.kept_points / self.points if self.points else 0.0

    @property
    def pulses_saved(self) -> float:
        """Share of the pulses that were not fired at full power."""
        return 1 - self.pulses / self.scenes if self.scenes else 0.0

    @property
    def energy_saved(self) -> float:
        """Share of the energy of full turns that was not emitted."""
        return 1 - self.energy / self.scenes if self.scenes else 0.0

    def __str__(self) -> str:
        """One line for the log."""
        return (
            f"{self.scenes} scenes: {self.points_saved:.1%} of the points, {self.pulses_saved:.1%} of the full-power "
            f"pulses and {self.energy_saved:.1%} of the energy saved"
        )


@TRANSFORMS.register_module()
class SkipSectors:
    """Leaves out the points of random angular sectors of each scene, and keeps count in :attr:`report`.

    The scanner does not know the scene, so it draws among all S = ceil(360 / R) sectors about it and fires into
    ``int((1 - ratio) * S)`` of them. Into the others it may fire at low power, which still measures what is near.
    The energy of a pulse is modelled as proportional to ``reach ** exponent``: 2 for targets wider than the beam (lidar
    range equation), 4 for smaller ones. Energy other than that of pulses is not counted.

    Args:
        ratio: Share of the sectors that are skipped, in [0, 1].
        sector_degrees: Width R of a sector.
        near_reach: Range of the low-power pulses into skipped sectors, metres; 0 fires none.
        max_range: Range of the full-power pulses, metres.
        exponent: Of the energy model.
        sensor_origin: (x, y) of the sensor in the frame of the points, metres.

    Raises:
        ConfigError: A value outside its range.
    """

    def __init__(
        self,
        ratio: float = 0.8,
        *,
        sector_degrees: float = 1.0,
        near_reach: float = 0.0,
        max_range: float = 100.0,
        exponent: float = 2.0,
        sensor_origin: Sequence[float] = (0.0, 0.0),
    ) -> None:
        if not 0 <= ratio <= 1 or not 0 < sector_degrees <= 360 or not 0 <= near_reach <= max_range or max_range <= 0:
            raise ConfigError(
                "SkipSectors: ratio in [0, 1], sector_degrees in (0, 360] and 0 <= near_reach <= max_range, got "
                f"{ratio}, {sector_degrees}, {near_reach}, {max_range}"
            )
        self.ratio, self.sector_degrees = ratio, sector_degrees
        self.near_reach, self.max_range, self.exponent = near_reach, max_range, exponent
        self.sensor_origin = tuple(sensor_origin)
        self.report = SensingReport()

    @property
    def num_sectors(self) -> int:
        """S."""
        return math.ceil(360 / self.sector_degrees)

    def __call__(self, scene: Scene, generator: np.random.Generator | torch.Generator | None = None) -> Scene:
        """A new sample (``points`` [N, C]) or packed batch (with ``offsets``) with fewer points; boxes stay."""
        points = scene["points"]
        offsets = scene.get("offsets", torch.tensor([0, len(points)], device=points.device))
        count = len(offsets) - 1
        fired = self.draw(count, points, generator)  # [B, S]
        cloud = torch.searchsorted(offsets, torch.arange(len(points), device=points.device), right=True) - 1
        keep = fired[cloud, self.sector_of(points)]
        if self.near_reach > 0:
            keep = keep | (self._relative(points).norm(dim=1) <= self.near_reach)
        self._count(fired, keep)
        return select_rows(scene, keep, ("points",), "offsets")

    def draw(self, count: int, like: Tensor, generator: np.random.Generator | torch.Generator | None) -> Tensor:
        """Sectors that are fired into, bool [count, S], ``int((1 - ratio) * S)`` in each row."""
        keys = uniform((count, self.num_sectors), 0, 1, like.new_empty(0, dtype=torch.float64), generator)
        return keys.argsort(dim=1).argsort(dim=1) < int((1 - self.ratio) * self.num_sectors)

    def sector_of(self, points: Tensor) -> Tensor:
        """Sector of each point, int64 [N]: azimuth counter-clockwise from x about the sensor."""
        x, y = self._relative(points).double()[:, :2].unbind(dim=1)
        degrees = torch.atan2(y, x).rad2deg() % 360
        return (degrees / self.sector_degrees).long().clamp(max=self.num_sectors - 1)

    def _relative(self, points: Tensor) -> Tensor:
        return points[:, :3] - points.new_tensor([*self.sensor_origin, 0.0])

    def _count(self, fired: Tensor, keep: Tensor) -> None:
        low = (self.near_reach / self.max_range) ** self.exponent
        pulses = fired.double().mean(dim=1).sum().item()
        self.report.scenes += len(fired)
        self.report.points += len(keep)
        self.report.kept_points += int(keep.sum())
        self.report.pulses += pulses
        self.report.energy += pulses + low * (len(fired) - pulses)


def sensing_table(rows: Mapping[str, tuple[SensingReport, Mapping[str, float]]]) -> str:
    """Markdown table of what was saved against what was scored.

    Args:
        rows: Name of a setting -> its report and its metrics; all with the same metrics.
    """
    metrics = list(next(iter(rows.values()))[1]) if rows else []
    lines = [
        "| setting | points saved | pulses saved | energy saved |" + "".join(f" {name} |" for name in metrics),
        "|---" * (4 + len(metrics)) + "|",
    ]
    for name, (report, scores) in rows.items():
        saved = (report.points_saved, report.pulses_saved, report.energy_saved)
        cells = [name, *(f"{value:.1%}" for value in saved), *(f"{scores[metric]:.4g}" for metric in metrics)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
