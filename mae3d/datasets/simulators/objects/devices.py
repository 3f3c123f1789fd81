# ruff: noqa: D103 (the class name is the documentation of a builder)
"""Simulated instruments, tools and electronics. y up, front towards +z."""

from __future__ import annotations

import numpy as np

from mae3d.datasets.simulators.objects.categories import assemble, category
from mae3d.datasets.simulators.objects.primitives import (
    box,
    cylinder,
    lathe,
    mirror,
    move,
    prism,
    rod,
    sphere,
    sweep,
    torus,
    turn,
)
from mae3d.structures.mesh import Mesh

Random = np.random.Generator


@category("guitar", "head", "neck", "body")
def guitar(rng: Random) -> Mesh:
    lower, upper, waist = rng.uniform(0.17, 0.21), rng.uniform(0.12, 0.15), rng.uniform(0.09, 0.12)
    length, depth = rng.uniform(0.4, 0.5), rng.uniform(0.04, 0.11)
    t = np.linspace(0, 1, 17)
    bouts = lower * np.exp(-(((t - 0.25) / 0.24) ** 2)) + upper * np.exp(-(((t - 0.8) / 0.17) ** 2))
    half = np.maximum(bouts, waist * (t > 0.1) * (t < 0.95)) * np.sqrt(np.clip(1 - (2 * t - 1) ** 6, 0.02, 1))
    side = np.stack([half, (t - 0.5) * length], axis=1)
    body = [prism([*side, *(side[::-1] * (-1, 1))], depth)]
    if rng.random() < 0.7:
        body.append(move(turn(cylinder(0.045, 0.004), "x", 90), (0, length * 0.12, depth / 2)))
    body.append(box((0.12, 0.02, 0.015), (0, -length * 0.25, depth / 2)))
    reach = rng.uniform(0.35, 0.45)
    neck = box((0.05, reach, 0.025), (0, length / 2 + reach / 2 - 0.03, depth / 2 - 0.01), taper=1.0)
    top = length / 2 + reach - 0.03
    head = [turn(box((0.075, 0.15, 0.015), (0, top + 0.075, depth / 2 - 0.01)), "x", -10, (0, top, depth / 2))]
    head += [
        mirror(rod((0.03, top + y, depth / 2 - 0.02), (0.065, top + y, depth / 2 - 0.02), 0.007))
        for y in (0.03, 0.07, 0.11)
    ]
    return assemble(head, neck, body)


@category("knife", "blade", "handle")
def knife(rng: Random) -> Mesh:
    length, width, thick = rng.uniform(0.14, 0.26), rng.uniform(0.02, 0.05), rng.uniform(0.002, 0.004)
    point = rng.uniform(0.15, 0.5) * length
    outline = [(0, 0), (length - point, 0), (length - point * 0.4, width * 0.35), (length, width), (0, width)]
    blade = prism(outline, thick)
    grip, tall = rng.uniform(0.09, 0.13), width * rng.uniform(0.55, 0.9)
    handle = [
        turn(sphere((tall / 2, grip / 2 * 1.05, 0.011), (0, 0, 0)), "z", 90),
        box((grip * 0.8, tall * 0.9, 0.018)),
    ]
    guard = [box((0.012, width * 1.3, 0.022), (0, width / 2, 0))] if rng.random() < 0.4 else []
    return assemble(blade, [*(move(part, (-grip / 2, width * 0.6, 0)) for part in handle), *guard])


@category("pistol", "barrel", "handle", "trigger")
def pistol(rng: Random) -> Mesh:
    length, height = rng.uniform(0.16, 0.24), rng.uniform(0.03, 0.042)
    if rng.random() < 0.6:
        barrel = [box((length, height, 0.026)), box((length * 0.9, height * 0.4, 0.022), (0, -height * 0.6, 0))]
    else:
        muzzle = turn(cylinder(0.011, length * 0.65), "z", 90)
        drum = turn(cylinder(0.024, length * 0.22), "z", 90)
        barrel = [move(muzzle, (length * 0.2, height * 0.2, 0)), move(drum, (-length * 0.18, 0, 0))]
        barrel.append(box((length * 0.5, height, 0.02), (-length * 0.22, 0, 0)))
    barrel.append(box((0.008, 0.008, 0.006), (length * 0.46, height * 0.6, 0)))
    grip = rng.uniform(0.09, 0.12)
    handle = turn(box((0.04, grip, 0.028), (0, -grip / 2, 0)), "z", -rng.uniform(8, 22))
    handle = move(handle, (-length * 0.33, -height * 0.4, 0))
    x = -length * 0.33 + 0.055
    guard = torus(0.02, 0.003, (x, -height * 0.85 - 0.012, 0), 0, 360)
    hook = rod((x, -height * 0.6, 0), (x + 0.006, -height * 0.6 - 0.025, 0), 0.003)
    return assemble(barrel, handle, [guard, hook])


@category("earphone", "cup", "headband", "wire")
def earphone(rng: Random) -> Mesh:
    radius, size = rng.uniform(0.075, 0.095), rng.uniform(0.03, 0.042)
    band = torus(radius, rng.uniform(0.004, 0.008), (0, 0, 0), 0, 180)
    band = Mesh(band.vertices * (1, rng.uniform(1.0, 1.25), 1), band.faces)
    pad = turn(lathe([(0, -0.012), (size, -0.012), (size, 0.008), (size * 0.7, 0.016), (0, 0.016)]), "z", 90)
    cups = mirror(move(pad, (radius, -size * 0.5, 0)))
    wire = []
    if rng.random() < 0.6:
        t = np.linspace(0, 1, 14)
        drop = rng.uniform(0.1, 0.22)
        path = np.stack([radius - t * radius, -size - drop * t, 0.02 * np.sin(6 * t)], axis=1)
        wire = [sweep(path, 0.0025, segments=6)]
    return assemble(cups, band, wire)


@category("laptop", "keyboard", "screen")
def laptop(rng: Random) -> Mesh:
    width, depth, thick = rng.uniform(0.3, 0.4), rng.uniform(0.21, 0.27), rng.uniform(0.012, 0.025)
    base = [box((width, thick, depth), (0, thick / 2, 0))]
    base += [
        box((width * 0.88, 0.004, depth * 0.09), (0, thick, -depth * 0.35 + depth * 0.12 * row)) for row in range(5)
    ]
    base.append(box((width * 0.25, 0.003, depth * 0.22), (0, thick, depth * 0.33)))
    lid = [
        box((width, depth, thick * 0.5), (0, depth / 2, 0)),
        box((width * 0.92, depth * 0.86, 0.002), (0, depth / 2, thick * 0.3)),
    ]
    angle = -rng.uniform(5, 40)
    screen = [move(turn(part, "x", angle), (0, thick, -depth / 2)) for part in lid]
    return assemble(base, screen)


@category("monitor", "screen", "stand", "base")
def monitor(rng: Random) -> Mesh:
    width = rng.uniform(0.45, 0.8)
    height, depth = width * rng.uniform(0.52, 0.75), rng.uniform(0.03, 0.07)
    lift = rng.uniform(0.08, 0.18)
    y = lift + height / 2
    screen = [box((width, height, depth), (0, y, 0)), box((width * 0.93, height * 0.9, 0.004), (0, y, depth / 2))]
    if rng.random() < 0.3:
        bulk = turn(box((width * 0.85, depth * 7, height * 0.85), taper=0.6), "x", -90)
        screen.append(move(bulk, (0, y, -depth * 3.5)))
    stand = box((0.06, y, 0.03), (0, y / 2, -depth / 2 - 0.01))
    round_base = rng.random() < 0.5
    foot = (
        cylinder(width * 0.22, 0.015, (0, 0.008, 0)) if round_base else box((width * 0.45, 0.015, 0.2), (0, 0.008, 0))
    )
    return assemble(screen, stand, foot)


@category("keyboard", "body", "key")
def keyboard(rng: Random) -> Mesh:
    width, depth, rows = rng.uniform(0.35, 0.48), rng.uniform(0.12, 0.17), rng.integers(4, 7)
    body = turn(box((width, 0.018, depth), (0, 0.009, 0)), "x", rng.uniform(0, 6))
    pitch = depth * 0.85 / rows
    columns = rng.integers(10, 15)
    spots = np.linspace(-0.44, 0.44, columns) * width
    keys = [
        box((width * 0.055, 0.012, pitch * 0.7), (x, 0.024, -depth * 0.4 + pitch * (row + 0.5)))
        for row in range(rows - 1)
        for x in spots
    ]
    keys.append(box((width * 0.4, 0.012, pitch * 0.7), (0, 0.024, depth * 0.4 - pitch * 0.3)))
    return assemble(body, keys)
