"""Drives a sensor through a scene and records sweeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mae3d.datasets.simulators.driving.scene import Scene
from mae3d.datasets.simulators.driving.sensors import SensorModel
from mae3d.ops.ray_cast import GROUND, ray_cast

ASPHALT = 0.2
MOMENTS = 20
"""Positions of moving traffic within one turn: every 18 degrees."""


@dataclass(frozen=True)
class Sweep:
    """One turn of the sensor.

    Attributes:
        time: End of the turn, seconds since the start of the scene.
        points: float32 [N, 5]: x y z in the sensor frame at ``time`` (x forward, y left, z up, metres), intensity,
            ring; in firing order.
        lag: float32 [N], seconds between a point's firing and ``time``.
        owner: int64 [N], agent that was hit, -1 for the surroundings.
        boxes: float64 [A, 9], all agents of the scene in the sensor frame: x y z l w h yaw vx vy; velocities are
            those over ground, turned into the sensor frame.
        num_points: int64 [A], points on each agent.
        world_from_sensor: float64 [4, 4].
    """

    time: float
    points: np.ndarray
    lag: np.ndarray
    owner: np.ndarray
    boxes: np.ndarray
    num_points: np.ndarray
    world_from_sensor: np.ndarray


def record(
    scene: Scene,
    sensor: SensorModel,
    sweeps: int | Iterable[int],
    seed: int,
    *,
    start: float = 0.0,
    motion_distortion: bool = False,
) -> Iterator[Sweep]:
    """Record turns of ``sensor``.

    Args:
        scene: Street and traffic.
        sensor: Sensor model.
        sweeps: Number of turns, or the numbers of those to record out of an unbroken drive.
        seed: Seed of noise and drop-out; a sweep depends on (seed, its number) alone.
        start: Time of the first sweep, seconds.
        motion_distortion: Leave points as measured: the vehicle and the traffic move while the sensor turns. Otherwise
            the traffic stands still during a turn and the vehicle's motion is compensated.
    """
    for number in range(sweeps) if isinstance(sweeps, int) else sweeps:
        rng = np.random.default_rng((seed, number))
        yield _sweep(scene, sensor, start + number / sensor.rate_hz, rng, motion_distortion)


def _sweep(scene: Scene, sensor: SensorModel, time: float, rng: np.random.Generator, motion_distortion: bool) -> Sweep:
    lag = np.arange(sensor.columns)[::-1] / (sensor.columns * sensor.rate_hz)  # the last column fires at `time`
    poses = scene.ego_pose(time - lag)  # [A, 3]
    headings = sensor.azimuths + poses[:, 2]
    origins = np.column_stack((poses[:, :2], np.full(len(poses), sensor.height)))
    solids, owners = scene.solids(time)
    ranges, index, cosine = _cast(scene, sensor, time - lag, origins, headings, moving=motion_distortion)
    elevations = np.radians(sensor.elevations)
    reflectivity = np.where(index == GROUND, ASPHALT, solids[np.maximum(index, 0), 8])
    seen = np.isfinite(ranges)
    seen &= rng.random(ranges.shape, dtype=np.float32) < sensor.return_probability(ranges, cosine, reflectivity)
    column, ring = np.nonzero(seen)
    measured = ranges[seen] + rng.normal(0, sensor.range_noise, len(column)).astype(np.float32)
    # Direction of each beam seen from the vehicle: at its firing, or at the end of the turn once compensated.
    heading = sensor.azimuths[column] if motion_distortion else headings[column] - poses[-1, 2]
    level = measured * np.cos(elevations[ring])
    points = np.stack((level * np.cos(heading), level * np.sin(heading), measured * np.sin(elevations[ring])), -1)
    if not motion_distortion:
        points[:, :2] += (poses[column, :2] - poses[-1, :2]) @ _rotation(poses[-1, 2])
    fade = np.clip(1.2 - measured / sensor.max_range, 0.2, 1.0)
    intensity = np.clip(reflectivity[seen] * cosine[seen] * fade + rng.normal(0, 0.02, len(column)), 0, 1)
    owner = np.where(index[seen] >= 0, owners[np.maximum(index[seen], 0)], -1)
    rows = np.column_stack((points, np.round(intensity * sensor.intensity_scale, 2), ring)).astype(np.float32)
    world_from_sensor = planar_pose(*poses[-1], sensor.height)
    return Sweep(
        time=time,
        points=rows,
        lag=lag[column].astype(np.float32),
        owner=owner,
        boxes=_boxes_in_sensor(scene, time, poses[-1], sensor.height),
        num_points=np.bincount(owner[owner >= 0], minlength=len(scene.agents)),
        world_from_sensor=world_from_sensor,
    )


def _cast(
    scene: Scene, sensor: SensorModel, times: np.ndarray, origins: np.ndarray, headings: np.ndarray, *, moving: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ranges, solids hit and cosines [columns, beams] of columns fired at ``times``.

    With ``moving`` the traffic is moved on between :data:`MOMENTS` parts of the turn, else it stands where it ends.
    """
    as_tensor = lambda values: torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))  # noqa: E731
    # Casting relative to the vehicle keeps float32 exact far along the street.
    offset = np.array([*origins[-1, :2], 0.0])
    elevations = as_tensor(np.radians(sensor.elevations))
    parts = []
    for columns in np.array_split(np.arange(len(times)), MOMENTS if moving else 1):
        solids, _ = scene.solids(times[columns].mean() if moving else times[-1])
        shifted = solids[:, :8].copy()
        shifted[:, 1:4] -= offset
        parts.append(
            ray_cast(
                as_tensor(origins[columns] - offset),
                as_tensor(headings[columns]),
                elevations,
                as_tensor(shifted),
                ground_z=0.0,
                max_range=sensor.max_range,
            )
        )
    return tuple(torch.cat(values).numpy() for values in zip(*parts))


def _rotation(yaw: float) -> np.ndarray:
    """Matrix R with row vectors: ``world @ R`` is the vector in a frame turned by ``yaw``."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s], [s, c]])


def planar_pose(x: float, y: float, yaw: float, z: float = 0.0) -> np.ndarray:
    """Homogeneous transform [4, 4] of a frame at (x, y, z) turned by ``yaw`` about z."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]], dtype=np.float64)


def _boxes_in_sensor(scene: Scene, time: float, pose: np.ndarray, height: float) -> np.ndarray:
    boxes = np.array([agent.box(time) for agent in scene.agents]).reshape(-1, 9)
    turn = _rotation(pose[2])
    boxes[:, :2] = (boxes[:, :2] - pose[:2]) @ turn
    boxes[:, 2] -= height
    boxes[:, 6] = (boxes[:, 6] - pose[2] + np.pi) % (2 * np.pi) - np.pi
    boxes[:, 7:9] = boxes[:, 7:9] @ turn
    return boxes
