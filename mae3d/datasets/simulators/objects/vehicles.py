# ruff: noqa: D103 (the class name is the documentation of a builder)
"""Simulated vehicles. y up; the length runs along z, the front towards +z."""

from __future__ import annotations

import numpy as np

from mae3d.datasets.simulators.objects.categories import assemble, category
from mae3d.datasets.simulators.objects.primitives import (
    box,
    cylinder,
    lathe,
    loft,
    mirror,
    move,
    prism,
    rod,
    sphere,
    torus,
    turn,
)
from mae3d.structures.mesh import Mesh

Random = np.random.Generator


def _wing(root: float, tip: float, span: float, sweep: float, thick: float, dihedral: float = 0.0) -> Mesh:
    """Half wing along +x: chords ``root`` and ``tip``, the tip moved back by ``sweep`` and up by ``dihedral``."""

    def section(x: float, chord: float, back: float, up: float, t: float) -> np.ndarray:
        z = np.array([0.5, 0.2, -0.5, 0.2]) * chord - back
        y = np.array([0.0, 0.5, 0.0, -0.5]) * t + up
        return np.stack([np.full(4, x), y, z], axis=1)

    return loft([section(0, root, 0, 0, thick), section(span, tip, sweep, dihedral, thick * 0.5)])


def _body(profile: list[tuple[float, float]], squash: float = 1.0) -> Mesh:
    """Surface of revolution about z from (radius, z) pairs."""
    return turn(lathe(profile, squash=squash), "x", 90)


def _wheel(radius: float, width: float, center: tuple[float, float, float]) -> Mesh:
    return move(turn(cylinder(radius, width), "z", 90), center)


@category("airplane", "body", "wing", "tail", "engine")
def airplane(rng: Random) -> Mesh:
    length, radius = rng.uniform(0.9, 1.2), rng.uniform(0.05, 0.085)
    half = length / 2
    body = _body(
        [(0, -half), (radius * 0.35, -half * 0.92), (radius, -half * 0.4), (radius, half * 0.65),
         (radius * 0.75, half * 0.85), (radius * 0.35, half * 0.96), (0, half)]
    )  # fmt: skip
    span, root, sweep = rng.uniform(0.4, 0.6), rng.uniform(0.18, 0.3), rng.uniform(0.05, 0.35)
    low = rng.choice([-0.5, 0.6]) * radius
    wing = move(
        _wing(root, root * rng.uniform(0.25, 0.6), span, sweep, 0.03, span * rng.uniform(0, 0.12)), (0, low, 0.05)
    )
    size = rng.uniform(0.12, 0.2)
    fin = turn(_wing(size, size * 0.5, size * 1.1, size * 0.7, 0.02), "z", 90)
    tail_height = size if rng.random() < 0.25 else 0.0
    plane = move(_wing(size * 0.8, size * 0.4, size * 1.2, size * 0.5, 0.015), (0, tail_height, -tail_height * 0.6))
    tail = [move(part, (0, radius * 0.4, -half * 0.85)) for part in (fin, mirror(plane))]
    engines = []
    for pod in range(rng.integers(1, 3)):
        x = span * (0.35 + 0.3 * pod)
        pod_radius = radius * rng.uniform(0.45, 0.6)
        nacelle = _body(
            [(0, -0.08), (pod_radius * 0.6, -0.08), (pod_radius, 0.05), (pod_radius * 0.8, 0.08), (0, 0.05)]
        )
        engines.append(mirror(move(nacelle, (x, low - pod_radius * 1.2, 0.14 - sweep * x / span))))
    if rng.random() < 0.2:
        engines = []
    return assemble(body, mirror(wing), tail, engines)


@category("car", "roof", "hood", "wheel", "body")
def car(rng: Random) -> Mesh:
    length, width, height = rng.uniform(3.6, 5.0), rng.uniform(1.6, 1.9), rng.uniform(0.55, 0.75)
    wheel = rng.uniform(0.3, 0.38)
    half, y = length / 2, wheel * 0.8
    body = box((width, height, length), (0, y + height / 2, 0), taper=0.96)
    cabin, start = rng.uniform(0.45, 0.65), rng.choice([-half * 0.95, -half * 0.7])
    front, top = half * rng.uniform(0.2, 0.4), y + height + cabin
    outline = [(start, y + height), (front, y + height), (front - cabin * 0.9, top), (start + cabin * 0.4, top)]
    roof = turn(prism([(z, h) for z, h in outline], width * 0.86), "y", -90)
    hood = box((width * 0.9, 0.06, (half - front) * 0.95), (0, y + height + 0.02, (half + front) / 2))
    axles = (half * 0.62, -half * 0.62)
    wheels = [mirror(_wheel(wheel, 0.22, (width / 2 - 0.06, wheel, z))) for z in axles]
    return assemble(roof, hood, wheels, body)


@category("motorbike", "tank", "seat", "wheel", "handle", "light", "body")
def motorbike(rng: Random) -> Mesh:
    base, radius = rng.uniform(1.3, 1.6), rng.uniform(0.28, 0.34)
    tyre, front, rear = rng.uniform(0.05, 0.08), base / 2, -base / 2
    wheels = [move(turn(torus(radius - tyre, tyre), "y", 90), (0, radius, z)) for z in (front, rear)]
    wheels += [_wheel(0.1, 0.06, (0, radius, z)) for z in (front, rear)]
    height = rng.uniform(0.85, 1.0)
    tank = sphere((0.15, 0.13, 0.28), (0, height - 0.08, 0.15))
    seat = turn(box((0.22, 0.1, rng.uniform(0.5, 0.7)), (0, height - 0.1, -0.35)), "x", -4)
    bar, grip = height + rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.42)
    neck = (0, height, front - 0.3)
    handle = [mirror(rod((0, bar - 0.05, front - 0.33), (grip, bar, front - 0.42), 0.018))]
    fork = mirror(rod((0.09, radius, front), (0.09, bar - 0.05, front - 0.33), 0.025))
    frame = [
        rod(neck, (0, radius, 0.1), 0.035),
        rod((0, radius, 0.1), (0, radius, rear), 0.03),
        rod(neck, (0, height - 0.15, rear + 0.2), 0.03),
        box((0.28, 0.3, 0.4), (0, radius + 0.12, 0.0)),
        rod((0.14, radius - 0.1, 0.1), (0.14, radius, rear - 0.1), 0.045),
        fork,
    ]
    light = sphere((0.09, 0.09, 0.07), (0, bar - 0.12, front - 0.2))
    return assemble(tank, seat, wheels, handle, light, frame)


@category("rocket", "body", "fin", "nose")
def rocket(rng: Random) -> Mesh:
    radius, height = rng.uniform(0.06, 0.14), rng.uniform(0.7, 1.1)
    nose = radius * rng.uniform(1.5, 3.5)
    skirt = radius * rng.uniform(0.8, 1.25)
    body = lathe([(0, 0), (skirt, 0), (radius, radius), (radius, height), (0, height)])
    tip = lathe([(0, height), (radius, height), (radius * 0.75, height + nose * 0.5), (0, height + nose)])
    count, reach = rng.integers(3, 5), radius * rng.uniform(1.2, 2.5)
    tall = height * rng.uniform(0.2, 0.35)
    outline = [(0, tall * 0.1), (reach, -tall * rng.uniform(0, 0.4)), (reach, tall * 0.3), (0, tall)]
    fin = prism(outline, 0.012, (radius * 0.8, 0.02, 0))
    fins = [turn(fin, "y", 360 * i / count) for i in range(count)]
    boosters = []
    if rng.random() < 0.3:
        rod_mesh = cylinder(radius * 0.5, height * 0.6, (radius * 1.5, height * 0.3, 0))
        cone = cylinder(radius * 0.5, radius, (radius * 1.5, height * 0.6 + radius / 2, 0), top=0)
        boosters = [mirror(rod_mesh), mirror(cone)]
    return assemble([body, *boosters], fins, tip)


@category("ship", "hull", "deckhouse", "mast")
def ship(rng: Random) -> Mesh:
    length, beam, depth = rng.uniform(2.5, 4.5), rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.5)
    stations = np.linspace(-1, 1, 9)
    fullness = np.clip(1 - np.abs(stations) ** rng.uniform(2.5, 5) * np.where(stations > 0, 1.0, 0.45), 0.02, 1)
    sections = []
    for station, full in zip(stations, fullness):
        x = np.array([-1, -0.85, -0.45, 0.45, 0.85, 1]) * beam / 2 * full
        y = np.array([1, 0.4, 0, 0, 0.4, 1]) * depth + (0.15 * depth * station**2)
        sections.append(np.stack([x, y, np.full(6, station * length / 2)], axis=1))
    hull = loft(sections)
    deck = depth
    house, levels = [], rng.integers(1, 4)
    z, wide, long = rng.uniform(-0.25, 0.0) * length, beam * 0.6, length * rng.uniform(0.15, 0.35)
    for level in range(levels):
        scale = 1 - 0.2 * level
        house.append(box((wide * scale, 0.16, long * scale), (0, deck + 0.08 + 0.16 * level, z)))
    top = deck + 0.16 * levels
    masts = [rod((0, deck, length * 0.2), (0, top + rng.uniform(0.3, 0.8), length * 0.2), 0.02)]
    masts.append(cylinder(0.08, 0.3, (0, top + 0.15, z - long * 0.15)))
    return assemble(hull, house, masts)


@category("skateboard", "wheel", "deck", "truck")
def skateboard(rng: Random) -> Mesh:
    length, width, bend = rng.uniform(0.7, 0.9), rng.uniform(0.18, 0.24), rng.uniform(0.03, 0.07)
    stations = np.linspace(-1, 1, 15)
    sections = []
    for station in stations:
        reach = max(abs(station) - 0.7, 0) / 0.3
        half = width / 2 * np.sqrt(max(1 - 0.9 * reach**2, 0.03))
        y = 0.09 + bend * reach**1.5
        z = station * length / 2
        sections.append(np.array([[-half, y + 0.012, z], [-half, y, z], [half, y, z], [half, y + 0.012, z]]))
    deck = loft(sections)
    axle, radius = length * 0.29, rng.uniform(0.025, 0.032)
    wheels = [mirror(_wheel(radius, 0.035, (width * 0.42, radius, z))) for z in (-axle, axle)]
    trucks = [rod((-width * 0.4, radius, z), (width * 0.4, radius, z), 0.01) for z in (-axle, axle)]
    trucks += [box((0.06, 0.09 - radius, 0.07), (0, (0.09 + radius) / 2, z)) for z in (-axle, axle)]
    return assemble(wheels, deck, trucks)
