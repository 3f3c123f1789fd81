"""Ray casting of spinning sensors in scenes of boxes, cylinders and ellipsoids."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.ops import _checks
from mae3d.ops._library import define
from mae3d.ops.reference import ray_cast as reference

BOX, CYLINDER, ELLIPSOID = 0, 1, 2
NOTHING, GROUND = -1, -2
_MAX_ELEVATION = math.radians(89.9)


class RayHits(NamedTuple):
    """What each beam meets first.

    Attributes:
        ranges: float32 [A, E], metres along the beam, +inf where nothing is hit.
        index: int64 [A, E], row of ``primitives``, -1 for nothing, -2 for the ground.
        cosine: float32 [A, E], cosine of the angle of incidence in [0, 1], 0 where nothing is hit.
    """

    ranges: Tensor
    index: Tensor
    cosine: Tensor


def _fake(
    origins: Tensor, azimuths: Tensor, elevations: Tensor, primitives: Tensor, ground_z: float, max_range: float
) -> tuple[Tensor, Tensor, Tensor]:
    shape = (origins.shape[0], elevations.shape[0])
    return origins.new_empty(shape), origins.new_empty(shape, dtype=torch.int64), origins.new_empty(shape)


_ray_cast = define(
    "ray_cast(Tensor origins, Tensor azimuths, Tensor elevations, Tensor primitives, float ground_z, float max_range)"
    " -> (Tensor, Tensor, Tensor)",
    reference=reference.ray_cast,
    fake=_fake,
)


def ray_cast(
    origins: Tensor,
    azimuths: Tensor,
    elevations: Tensor,
    primitives: Tensor,
    *,
    ground_z: float | None = 0.0,
    max_range: float = 200.0,
) -> RayHits:
    """Cast a grid of beams, one column per azimuth, into a scene of solids above flat ground.

    Args:
        origins: float32 [A, 3], sensor position while each column is fired, metres; differs between columns when
            the sensor moves during the turn.
        azimuths: float32 [A], heading of each column, radians counter-clockwise from +x.
        elevations: float32 [E], beam angles above the horizon, radians, within 89.9 degrees.
        primitives: float32 [M, 8], ``kind, x, y, z, size x, size y, size z, yaw``: kind 0 box, 1 upright cylinder
            (size x is its diameter), 2 ellipsoid; centre and full sizes in metres. A row that is not finite or has
            a size <= 0 is never hit, nor is a solid that contains the sensor.
        ground_z: Height of the ground plane, None for no ground.
        max_range: Metres; surfaces beyond are not seen.

    Raises:
        OperatorInputError: wrong shape, dtype, device, elevation or range.
    """
    op = "ray_cast"
    float32 = (torch.float32,)
    _checks.check_tensor(op, "origins", origins, (None, 3), float32)
    _checks.check_tensor(op, "azimuths", azimuths, (origins.shape[0],), float32)
    _checks.check_tensor(op, "elevations", elevations, (None,), float32)
    _checks.check_tensor(op, "primitives", primitives, (None, 8), float32)
    _checks.check_same_device(op, origins=origins, azimuths=azimuths, elevations=elevations, primitives=primitives)
    _checks.check_range(op, "max_range", max_range, 0)
    steep = not torch.compiler.is_compiling() and elevations.device.type == "cpu"
    if steep and not bool((elevations.abs() <= _MAX_ELEVATION).all()):
        _checks.require(False, f"{op}: 'elevations' must lie within 89.9 degrees of the horizon, in radians")
    ground = math.nan if ground_z is None else float(ground_z)
    return RayHits(*_ray_cast(origins, azimuths, elevations, primitives, ground, float(max_range)))
