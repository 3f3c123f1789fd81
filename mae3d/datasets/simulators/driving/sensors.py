"""Spinning lidars: where their beams point, how far they see, how they err."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SensorModel:
    """A spinning lidar.

    Attributes:
        name: Trade name.
        elevations: Beam angles above the horizon, degrees, lowest first: ring 0 looks down most.
        columns: Firings a turn.
        rate_hz: Turns a second.
        height: Mounting height above the ground, metres.
        max_range: Metres.
        range_noise: Standard deviation of a range, metres.
        half_range: Range at which a surface of reflectivity 0.5 seen head-on returns in half the cases, metres.
        intensity_scale: Intensity of a perfect reflector nearby (255 for nuScenes, 1 for KITTI).
    """

    name: str
    elevations: tuple[float, ...]
    columns: int
    rate_hz: float
    height: float
    max_range: float
    range_noise: float
    half_range: float
    intensity_scale: float

    @property
    def azimuths(self) -> np.ndarray:
        """Heading of each column, radians, clockwise from the rear like the real sensors: float64 [columns]."""
        return np.pi - np.arange(self.columns) * (2 * np.pi / self.columns)

    def return_probability(self, ranges: np.ndarray, cosine: np.ndarray, reflectivity: np.ndarray) -> np.ndarray:
        """Chance that a pulse is detected: received power falls with the square of range, grazing beams return less.

        Rough ground scatters more at grazing angles than Lambert's law says, hence the square root.
        """
        power = (
            2 * reflectivity * np.sqrt(np.clip(cosine, 0.01, 1.0)) * (self.half_range / np.maximum(ranges, 1e-3)) ** 2
        )
        return power / (power + 1.0)


def _hdl64_elevations() -> tuple[float, ...]:
    # Two blocks of 32 beams (HDL-64E S2 manual): about 1/2 degree apart below, 1/3 degree above.
    lower = np.linspace(-24.8, -8.87, 32)
    upper = np.linspace(-8.33, 2.0, 32)
    return tuple(np.concatenate((lower, upper)).round(3).tolist())


HDL_32E = SensorModel(
    name="HDL-32E",
    elevations=tuple(np.linspace(-30.67, 10.67, 32).round(3).tolist()),
    columns=1084,
    rate_hz=20.0,
    height=1.84,
    max_range=100.0,
    range_noise=0.02,
    half_range=60.0,
    intensity_scale=255.0,
)
"""The roof lidar of nuScenes."""

HDL_64E = SensorModel(
    name="HDL-64E",
    elevations=_hdl64_elevations(),
    columns=2083,
    rate_hz=10.0,
    height=1.73,
    max_range=120.0,
    range_noise=0.02,
    half_range=75.0,
    intensity_scale=1.0,
)
"""The roof lidar of KITTI."""

LONG_RANGE_64 = SensorModel(
    name="long range, 64 beams",
    elevations=tuple(np.concatenate((np.linspace(-17.6, -4.0, 24), np.linspace(-3.66, 2.4, 40))).round(3).tolist()),
    columns=2650,
    rate_hz=10.0,
    height=2.0,
    max_range=75.0,
    range_noise=0.015,
    half_range=90.0,
    intensity_scale=1.0,
)
"""A sensor with the field of view, columns and cut-off range of Waymo's top lidar."""

PANDAR_40 = SensorModel(
    name="Pandar40",
    elevations=tuple(
        np.concatenate(((-25, -19), np.arange(-14, -6), np.linspace(-6, 2, 25), (3, 5, 8, 11, 15))).round(3).tolist()
    ),
    columns=1800,
    rate_hz=10.0,
    height=1.9,
    max_range=150.0,
    range_noise=0.02,
    half_range=90.0,
    intensity_scale=255.0,
)
"""A 40-beam sensor with the field of view of the roof lidar of ONCE: a third of a degree apart from -6 to 2 degrees."""

SENSORS = {sensor.name: sensor for sensor in (HDL_32E, HDL_64E, LONG_RANGE_64, PANDAR_40)}
