"""Shapes of road users: the solids that a lidar sees, inside the box that an annotator would draw.

A body is float32 [P, 9]: ``kind, x, y, z, size x, size y, size z, yaw, reflectivity`` in the frame of the road user
(x forward, y left, z up from the ground, metres, radians).
"""

from __future__ import annotations

import numpy as np

from mae3d.ops.ray_cast import BOX, CYLINDER, ELLIPSOID

SIZES = {
    "car": ((4.6, 1.95, 1.72), 0.06),
    "truck": ((6.9, 2.5, 2.85), 0.12),
    "bus": ((11.2, 2.9, 3.5), 0.06),
    "trailer": ((12.3, 2.9, 3.9), 0.08),
    "construction_vehicle": ((6.4, 2.8, 3.2), 0.12),
    "pedestrian": ((0.72, 0.66, 1.76), 0.07),
    "motorcycle": ((2.1, 0.77, 1.47), 0.06),
    "bicycle": ((1.75, 0.62, 1.3), 0.05),
    "traffic_cone": ((0.41, 0.41, 1.0), 0.1),
    "barrier": ((0.5, 2.4, 0.98), 0.05),
}
"""Class -> mean length, width, height in metres, and their relative spread (means as in nuScenes)."""

RUBBER, GLASS, CLOTH, SIGN = 0.1, 0.12, 0.45, 0.9


def sample_size(name: str, rng: np.random.Generator) -> np.ndarray:
    """Length, width, height [3] of one road user of class ``name``."""
    mean, spread = SIZES[name]
    common = rng.normal(0, spread)  # larger ones are larger in every direction
    return np.asarray(mean) * (1 + np.clip(common + rng.normal(0, spread / 3, 3), -0.25, 0.3))


def build_body(name: str, size: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The solids of a road user of class ``name`` that fills its box ``size`` (length, width, height)."""
    paint = float(rng.uniform(0.15, 0.75))
    parts = _BUILDERS[name](*size, paint, rng)
    return np.asarray(parts, dtype=np.float32).reshape(-1, 9)


def _wheels(length: float, width: float, diameter: float, axles: tuple[float, ...]) -> list[tuple[float, ...]]:
    return [
        (BOX, a * length, side * (width / 2 - 0.13), diameter / 2, diameter * 0.9, 0.24, diameter, 0, RUBBER)
        for a in axles
        for side in (-1, 1)
    ]


def _car(l, w, h, paint, rng):  # noqa: E741
    cabin = float(rng.uniform(0.48, 0.72))  # estate cars and vans have long cabins
    shift = float(rng.uniform(-0.12, -0.02))
    shift = max(shift, -(1 - cabin) / 2)
    return [
        (BOX, 0, 0, 0.36 * h, l, w, 0.42 * h, 0, paint),
        (BOX, shift * l, 0, 0.72 * h, cabin * l, 0.88 * w, 0.32 * h, 0, GLASS + 0.3 * paint),
        (BOX, shift * l, 0, 0.94 * h, 0.8 * cabin * l, 0.8 * w, 0.12 * h, 0, paint),
        *_wheels(l, w, 0.38 * h, (0.3, -0.3)),
    ]


def _truck(l, w, h, paint, rng):  # noqa: E741
    cab = float(rng.uniform(0.24, 0.34))
    bed = float(rng.uniform(0.75, 1.0))
    return [
        (BOX, (0.5 - cab / 2) * l, 0, 0.55 * h, cab * l, 0.94 * w, 0.82 * h, 0, paint),
        (BOX, -cab / 2 * l, 0, (0.22 + 0.39 * bed) * h, (1 - cab) * l - 0.15, w, 0.78 * bed * h, 0, 0.6),
        *_wheels(l, w, 0.32 * h, (0.36, -0.22, -0.36)),
    ]


def _bus(l, w, h, paint, rng):  # noqa: E741
    return [
        (BOX, 0, 0, 0.55 * h, l, w, 0.9 * h, 0, paint),
        *_wheels(l, w, 0.28 * h, (0.33, -0.28)),
    ]


def _trailer(l, w, h, paint, rng):  # noqa: E741
    return [
        (BOX, 0, 0, 0.63 * h, l, w, 0.74 * h, 0, 0.65),
        *_wheels(l, w, 0.26 * h, (-0.28, -0.38)),
    ]


def _construction_vehicle(l, w, h, paint, rng):  # noqa: E741
    return [
        (BOX, -0.1 * l, 0, 0.34 * h, 0.7 * l, w, 0.42 * h, 0, 0.5),
        (BOX, -0.12 * l, 0.12 * w, 0.77 * h, 0.32 * l, 0.55 * w, 0.46 * h, 0, GLASS + 0.2),
        (BOX, 0.36 * l, 0, 0.25 * h, 0.26 * l, 0.9 * w, 0.3 * h, 0, 0.4),
        (BOX, 0.22 * l, -0.2 * w, 0.6 * h, 0.4 * l, 0.2 * w, 0.18 * h, 0, 0.5),
        *_wheels(l, w, 0.4 * h, (0.15, -0.32)),
    ]


def _pedestrian(l, w, h, paint, rng):  # noqa: E741
    stride = 0.3 * l * float(rng.uniform(0, 1))
    return [
        (CYLINDER, stride, 0.12 * w, 0.24 * h, 0.16, 0.16, 0.48 * h, 0, CLOTH),
        (CYLINDER, -stride, -0.12 * w, 0.24 * h, 0.16, 0.16, 0.48 * h, 0, CLOTH),
        (ELLIPSOID, 0, 0, 0.64 * h, 0.42 * l, 0.75 * w, 0.42 * h, 0, paint),
        (ELLIPSOID, 0.02, 0, 0.93 * h, 0.2, 0.18, 0.14 * h, 0, 0.5),
    ]


def _two_wheeler(l, w, h, paint, rider: bool):  # noqa: E741
    tyre = 0.34 * l
    parts = [
        (BOX, 0.33 * l, 0, tyre / 2, tyre, 0.08, tyre, 0, RUBBER),
        (BOX, -0.33 * l, 0, tyre / 2, tyre, 0.08, tyre, 0, RUBBER),
        (BOX, 0, 0, 0.45 * h, 0.5 * l, 0.12, 0.22 * h, 0, paint),
        (BOX, 0.26 * l, 0, (0.72 if rider else 0.92) * h, 0.06, 0.9 * w, 0.06 * h, 0, 0.4),
    ]
    if rider:
        parts += [
            (ELLIPSOID, -0.05 * l, 0, 0.68 * h, 0.4, 0.7 * w, 0.44 * h, 0, CLOTH),
            (ELLIPSOID, 0.02 * l, 0, 0.92 * h, 0.2, 0.18, 0.16 * h, 0, 0.5),
        ]
    return parts


def _motorcycle(l, w, h, paint, rng):  # noqa: E741
    return [*_two_wheeler(l, w, h, paint, rider=True), (BOX, 0, 0, 0.35 * h, 0.45 * l, 0.4 * w, 0.3 * h, 0, paint)]


def _bicycle(l, w, h, paint, rng):  # noqa: E741
    return _two_wheeler(l, w, h, paint, rider=bool(rng.random() < 0.7))


def _traffic_cone(l, w, h, paint, rng):  # noqa: E741
    return [
        (BOX, 0, 0, 0.03, l, w, 0.06, 0, 0.2),
        (CYLINDER, 0, 0, 0.3 * h, 0.6 * l, 0.6 * l, 0.5 * h, 0, SIGN),
        (CYLINDER, 0, 0, 0.75 * h, 0.3 * l, 0.3 * l, 0.5 * h, 0, SIGN),
    ]


def _barrier(l, w, h, paint, rng):  # noqa: E741
    return [
        (BOX, 0, 0, 0.15 * h, l, w, 0.3 * h, 0, 0.5),
        (BOX, 0, 0, 0.65 * h, 0.4 * l, w, 0.7 * h, 0, 0.6),
    ]


_BUILDERS = {
    "car": _car,
    "truck": _truck,
    "bus": _bus,
    "trailer": _trailer,
    "construction_vehicle": _construction_vehicle,
    "pedestrian": _pedestrian,
    "motorcycle": _motorcycle,
    "bicycle": _bicycle,
    "traffic_cone": _traffic_cone,
    "barrier": _barrier,
}
