"""Simulated drives as a data set in memory, made when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.lidar.base import build_transforms, move_points
from mae3d.datasets.simulators.driving.nuscenes_layout import CLASS_TO_CATEGORY
from mae3d.datasets.simulators.driving.scene import build_scene
from mae3d.datasets.simulators.driving.sensors import HDL_32E, SensorModel
from mae3d.datasets.simulators.driving.simulate import record
from mae3d.errors import ConfigError
from mae3d.registry import DATASETS

_LATEST = 8.0
"""Frames are taken from the first seconds of a drive."""
_LONGEST_LAG = 1.0
"""Seconds before a frame in which streets still have houses around the car."""


@DATASETS.register_module()
class SimulatedDrives(SampleDataset):
    """``count`` single sweeps, each from a street of its own; needs no file.

    Samples are those of :class:`LidarDataset`: ``points`` float32 [N, 4] (x y z intensity, frame: x ahead, y left, z
    up, metres), ``boxes``, ``box_labels``, ``box_points``, ``world_from_sensor``, ``index``. Sweep i is the same in
    every epoch; training and test sweeps differ. A sweep is simulated once and kept.

    Args:
        count: Number of sweeps.
        split: "train" or "test".
        sensor: Sensor model.
        columns: Firings a turn, instead of the sensor's own: fewer make smaller clouds.
        previous_lag: Seconds between a sweep and the earlier one that comes with it as ``previous_points``, moved into
            the frame of the sensor; None records none. Sweeps are those of any other value.
        max_distance: Boxes whose centre is farther away are left out, metres.
        transforms: Callables ``(sample, numpy Generator) -> sample``, or their configs.
        **options: ``seed`` and ``on_error`` of :class:`SampleDataset`.

    Raises:
        ConfigError: A count below 1 or an unknown split.
    """

    classes = tuple(CLASS_TO_CATEGORY)

    def __init__(
        self,
        count: int,
        split: Literal["train", "test"] = "train",
        *,
        sensor: SensorModel = HDL_32E,
        columns: int | None = None,
        previous_lag: float | None = None,
        max_distance: float = 60.0,
        transforms: Sequence[Any] = (),
        **options: Any,
    ) -> None:
        if count < 1:
            raise ConfigError(f"SimulatedDrives: count must be at least 1, got {count}")
        if split not in ("train", "test"):
            raise ConfigError(f'SimulatedDrives: split must be "train" or "test", got {split!r}')
        if previous_lag is not None and not 0 < previous_lag <= _LONGEST_LAG:
            raise ConfigError(f"SimulatedDrives: previous_lag must lie in (0, {_LONGEST_LAG}] s, got {previous_lag}")
        super().__init__(**options)
        self.count = count
        self.previous_lag = previous_lag
        self.split = split
        self.sensor = sensor if columns is None else replace(sensor, columns=columns)
        self.max_distance = max_distance
        self.transforms = build_transforms(transforms)
        self._made: dict[int, dict[str, Any]] = {}
        self.prepare_skipping()

    def __len__(self) -> int:
        return self.count

    def sample_name(self, index: int) -> str:
        """Split and number of the street."""
        return f"simulated {self.split} street {int(index)}"

    def load(self, index: int) -> dict[str, Any]:
        """Sweep ``index``, transformed."""
        number = int(index)
        if number not in self._made:
            self._made[number] = self._simulate(number)
        sample = {**self._made[number], "index": index}
        generator = self.random_generator(index)
        for transform in self.transforms:
            sample = transform(sample, generator)
        return sample

    def _simulate(self, index: int) -> dict[str, Any]:
        # Streets are numbered apart: even for training, odd for testing.
        rng = np.random.default_rng((self.seed, 2 * index + (self.split == "test")))
        scene = build_scene(int(rng.integers(2**31)), _LATEST + 1)
        seed, start = int(rng.integers(2**31)), float(rng.uniform(0, _LATEST))
        (sweep,) = record(scene, self.sensor, 1, seed, start=start)
        near = np.linalg.norm(sweep.boxes[:, :2], axis=1) <= self.max_distance
        labels = np.array([self.classes.index(agent.name) for agent in scene.agents], dtype=np.int64)
        sample = {
            "points": torch.from_numpy(np.ascontiguousarray(sweep.points[:, :4])),
            "boxes": torch.from_numpy(sweep.boxes[near].astype(np.float32)),
            "box_labels": torch.from_numpy(labels[near]),
            "box_points": torch.from_numpy(sweep.num_points[near].astype(np.int64)),
            "world_from_sensor": torch.from_numpy(sweep.world_from_sensor.copy()),
        }
        if self.previous_lag is not None:
            (earlier,) = record(scene, self.sensor, 1, seed + 1, start=start - self.previous_lag)
            points = np.ascontiguousarray(earlier.points[:, :4])
            move_points(points, np.linalg.inv(sweep.world_from_sensor) @ earlier.world_from_sensor, points)
            sample["previous_points"] = torch.from_numpy(points)
        return sample
