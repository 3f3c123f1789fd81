# ruff: noqa: D103 (the class name is the documentation of a builder)
"""Simulated vessels, sanitary ware, plants and other things of the house. Lengths in metres, y up."""

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
    tube,
    turn,
)
from mae3d.structures.mesh import Mesh, join_meshes

Random = np.random.Generator


@category("mug", "handle", "body")
def mug(rng: Random) -> Mesh:
    radius, height = rng.uniform(0.035, 0.05), rng.uniform(0.08, 0.12)
    body = tube(
        [(radius * rng.uniform(0.75, 1), 0), (radius, height * 0.3), (radius * rng.uniform(0.95, 1.1), height)], 0.004
    )
    ring = rng.uniform(0.28, 0.36) * height
    handle = torus(ring, 0.005, (radius * 0.96, height * 0.5, 0), -95, 95)
    return assemble(handle, body)


@category("bottle", "body", "neck", "cap")
def bottle(rng: Random) -> Mesh:
    radius, height = rng.uniform(0.03, 0.05), rng.uniform(0.14, 0.22)
    neck, tall = radius * rng.uniform(0.28, 0.45), rng.uniform(0.03, 0.09)
    shoulder = rng.uniform(0.02, 0.05)
    belly = radius * rng.uniform(0.8, 1)
    body = lathe(
        [(0, 0), (radius * 0.9, 0), (radius, 0.01), (belly, height * 0.5), (radius, height), (neck, height + shoulder)]
    )
    top = height + shoulder + tall
    throat = lathe([(neck, height + shoulder), (neck, top), (neck * 1.15, top), (neck * 1.15, top + 0.006)])
    return assemble(body, throat, cylinder(neck * 1.25, 0.018, (0, top + 0.012, 0)))


@category("vase", "body", "foot")
def vase(rng: Random) -> Mesh:
    height = rng.uniform(0.25, 0.5)
    belly, neck, lip = rng.uniform(0.08, 0.15), rng.uniform(0.03, 0.06), rng.uniform(0.05, 0.1)
    where = rng.uniform(0.3, 0.55)
    t = np.linspace(0, 1, 14)
    swell = np.exp(-(((t - where) / 0.25) ** 2))
    radius = neck + (belly - neck) * swell + (lip - neck) * np.clip((t - 0.85) / 0.15, 0, 1) ** 1.5
    body = tube(list(zip(radius, 0.02 + t * height)), 0.005)
    return assemble(body, cylinder(neck * 1.3, 0.02, (0, 0.01, 0), top=neck))


@category("bowl", "body", "foot")
def bowl(rng: Random) -> Mesh:
    radius, height = rng.uniform(0.08, 0.16), rng.uniform(0.045, 0.09)
    t = np.linspace(0, 1, 10)
    profile = list(
        zip(radius * np.sin(t * np.pi / 2) ** rng.uniform(0.6, 1.2), 0.01 + height * (1 - np.cos(t * np.pi / 2)))
    )
    return assemble(tube(profile[1:], 0.006), cylinder(radius * 0.4, 0.02, (0, 0.01, 0)))


@category("flower_pot", "plant", "pot")
def flower_pot(rng: Random) -> Mesh:
    radius, height = rng.uniform(0.09, 0.16), rng.uniform(0.14, 0.24)
    pot = [tube([(radius * 0.65, 0), (radius, height)], 0.012), torus_ring(radius, 0.012, height)]
    soil = cylinder(radius * 0.9, 0.01, (0, height * 0.85, 0))
    leaves = []
    for _ in range(rng.integers(7, 14)):
        tall, lean, turn_by = rng.uniform(0.18, 0.45), rng.uniform(10, 55), rng.uniform(0, 360)
        leaf = sphere((0.035, tall / 2, 0.006), (0, tall / 2, 0))
        leaves.append(move(turn(turn(leaf, "x", lean), "y", turn_by), (0, height * 0.85, 0)))
    return assemble(leaves, [*pot, soil])


def torus_ring(radius: float, thickness: float, height: float) -> Mesh:
    """Horizontal ring at ``height``."""
    return move(turn(torus(radius, thickness), "x", 90), (0, height, 0))


@category("bin", "body", "lid")
def bin_(rng: Random) -> Mesh:
    height, radius = rng.uniform(0.35, 0.8), rng.uniform(0.14, 0.26)
    lid = []
    if rng.random() < 0.5:
        body = tube([(radius * rng.uniform(0.7, 0.95), 0), (radius, height)], 0.01)
        if rng.random() < 0.5:
            lid = [sphere((radius, radius * 0.5, radius), (0, height, 0), start=0)]
        rim = torus_ring(radius, 0.012, height)
        return assemble([body, rim], lid)
    width, depth = radius * 2, radius * rng.uniform(1.5, 2.4)
    body = box((width * 0.85, height, depth * 0.85), (0, height / 2, 0), taper=1.15)
    top = turn(box((width * 1.05, 0.04, depth * 1.05), (0, height + 0.02, 0)), "x", rng.uniform(-8, 0))
    wheels = mirror(move(turn(cylinder(0.06, 0.04), "z", 90), (width * 0.4, 0.05, -depth * 0.45)))
    return assemble([body, wheels], top)


@category("box", "body", "flap")
def carton(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(0.25, 0.6), rng.uniform(0.2, 0.5), rng.uniform(0.15, 0.45)
    wall = 0.008
    body = [
        box((width, wall, depth), (0, wall / 2, 0)),
        mirror(box((wall, height, depth), (width / 2, height / 2, 0))),
        mirror(box((width, height, wall), (0, height / 2, depth / 2)), "z"),
    ]
    angle = rng.uniform(-60, 80)
    long, short = depth / 2, width * 0.35
    side = turn(box((short, wall, depth), (width / 2 + short / 2, height, 0)), "z", -angle, (width / 2, height, 0))
    end = turn(
        box((width, wall, long), (0, height, depth / 2 + long / 2)), "x", rng.uniform(10, 80), (0, height, depth / 2)
    )
    if rng.random() < 0.35:
        return assemble(body, box((width, wall, depth), (0, height, 0)))
    return assemble(body, [mirror(side), mirror(end, "z")])


@category("bag", "handle", "body")
def bag(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(0.28, 0.45), rng.uniform(0.1, 0.2), rng.uniform(0.22, 0.38)
    body = box((width, height, depth), (0, height / 2, 0), taper=rng.uniform(0.65, 0.95))
    reach, rise = width * rng.uniform(0.18, 0.32), rng.uniform(0.08, 0.22)
    t = np.linspace(0, np.pi, 16)
    path = np.stack([reach * np.cos(t), height + rise * np.sin(t), np.full(16, depth * 0.3)], axis=1)
    pocket = box((width * 0.6, height * 0.45, 0.02), (0, height * 0.35, depth / 2 + 0.01))
    handle = sweep(path, 0.008)
    return assemble(mirror(handle, "z") if rng.random() < 0.6 else handle, [body, pocket])


@category("cap", "panel", "peak")
def cap(rng: Random) -> Mesh:
    radius, height = rng.uniform(0.085, 0.1), rng.uniform(0.08, 0.12)
    dome = sphere((radius, height, radius * 1.1), start=0)
    button = sphere(0.008, (0, height, 0))
    reach, wide = rng.uniform(0.06, 0.1), rng.uniform(45, 65)
    angle = np.radians(np.linspace(90 - wide, 90 + wide, 13))
    inner = np.stack([radius * np.cos(angle), radius * 1.1 * np.sin(angle)], axis=1)
    outer = inner * 1.0
    outer[:, 1] += reach * np.sin((angle - angle[0]) / (angle[-1] - angle[0]) * np.pi) ** 0.6
    droop = -0.25 * reach
    flat = np.concatenate([inner, outer[::-1]])
    y = np.concatenate([np.zeros(13), np.where(outer[::-1, 1] > inner[::-1, 1] + 1e-6, droop, 0)])
    peak = _sheet(np.stack([flat[:, 0], y, flat[:, 1]], axis=1), 13, 0.003)
    return assemble([dome, button], peak)


def _sheet(rim: np.ndarray, columns: int, thick: float) -> Mesh:
    """Thin sheet between the first ``columns`` points of ``rim`` and the rest, taken backwards."""
    near, far = rim[:columns], rim[columns:][::-1]
    row = np.arange(columns - 1)
    faces = np.concatenate([
        np.stack([row, row + columns, row + 1], 1),
        np.stack([row + 1, row + columns, row + columns + 1], 1),
    ])  # fmt: skip
    upper = np.concatenate([near, far]) + np.array([0, thick / 2, 0])
    lower = upper - np.array([0, thick, 0])
    return join_meshes([Mesh(upper, faces), Mesh(lower, faces[:, ::-1])])


@category("pillow", "body")
def pillow(rng: Random) -> Mesh:
    width, depth, thick = rng.uniform(0.4, 0.7), rng.uniform(0.35, 0.5), rng.uniform(0.1, 0.2)
    count, power = 15, rng.uniform(0.4, 0.7)
    u, v = np.meshgrid(np.linspace(-1, 1, count), np.linspace(-1, 1, count))
    bulge = ((1 - u**2) * (1 - v**2)) ** power * thick / 2
    pinch = 1 - 0.12 * (1 - np.abs(u * v))
    flat = np.stack([u * width / 2 * pinch, bulge, v * depth / 2 * pinch], axis=2).reshape(-1, 3)
    cell = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).reshape(-1)
    faces = np.concatenate([
        np.stack([cell, cell + count, cell + 1], 1), np.stack([cell + 1, cell + count, cell + count + 1], 1)
    ])  # fmt: skip
    return assemble([Mesh(flat, faces), Mesh(flat * (1, -1, 1), faces[:, ::-1])])


@category("sink", "basin", "faucet", "stand")
def sink(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(0.45, 0.7), rng.uniform(0.38, 0.5), rng.uniform(0.75, 0.9)
    squash = depth / width
    basin = move(
        _oval(tube([(width * 0.2, -0.16), (width * 0.42, -0.1), (width / 2, 0)], 0.025), squash), (0, height, 0)
    )
    rear, rise = -depth / 2 + 0.05, rng.uniform(0.1, 0.2)
    t = np.linspace(0, np.pi, 10)
    arc = np.stack([np.zeros(10), height + rise + 0.05 * np.sin(t), rear + 0.07 * (1 - np.cos(t))], axis=1)
    faucet = [rod((0, height, rear), (0, height + rise, rear), 0.014), sweep(arc, 0.012)]
    faucet.append(mirror(cylinder(0.02, 0.05, (0.09, height + 0.02, rear))))
    if rng.random() < 0.6:
        stand = [cylinder(0.1, height - 0.15, (0, (height - 0.15) / 2, -0.03), top=0.07)]
    else:
        stand = [box((width * 0.95, height - 0.12, depth * 0.9), (0, (height - 0.12) / 2, 0))]
    return assemble(basin, faucet, stand)


def _oval(mesh: Mesh, squash: float) -> Mesh:
    return Mesh(mesh.vertices * (1, 1, squash), mesh.faces, mesh.part)


@category("toilet", "bowl", "tank", "lid")
def toilet(rng: Random) -> Mesh:
    width, length, height = rng.uniform(0.34, 0.4), rng.uniform(0.45, 0.55), rng.uniform(0.38, 0.45)
    squash = length / width
    bowl_mesh = _oval(
        tube([(width * 0.28, 0), (width * 0.25, height * 0.35), (width / 2, height * 0.85), (width / 2, height)], 0.03),
        squash,
    )
    seat = _oval(torus_ring(width * 0.43, 0.025, height + 0.01), squash)
    tall, thick = rng.uniform(0.3, 0.42), rng.uniform(0.16, 0.22)
    rear = -length / 2 - thick / 2 + 0.05
    tank = [
        box((width * 1.1, tall, thick), (0, height + tall / 2, rear)),
        box((width * 1.16, 0.03, thick * 1.1), (0, height + tall, rear)),
    ]
    lid = _oval(
        move(lathe([(0, 0), (width * 0.48, 0), (width * 0.48, 0.02), (0, 0.02)]), (0, height + 0.03, 0)), squash
    )
    hinge = (0, height + 0.03, -length / 2 + 0.03)
    lid = turn(lid, "x", -rng.uniform(80, 95), hinge) if rng.random() < 0.7 else lid
    return assemble([bowl_mesh, seat], tank, lid)


@category("bathtub", "tub", "foot", "faucet")
def bathtub(rng: Random) -> Mesh:
    length, width, height = rng.uniform(1.4, 1.8), rng.uniform(0.65, 0.85), rng.uniform(0.45, 0.6)
    foot = rng.uniform(0.0, 0.15)
    squash = width / length
    profile = [(length * 0.4, foot), (length * 0.46, foot + height * 0.5), (length / 2, foot + height)]
    tub = [_oval(tube(profile, 0.04), squash), _oval(torus_ring(length / 2 - 0.01, 0.02, foot + height), squash)]
    feet = [
        sphere((0.06, max(foot, 0.04) * 0.6, 0.06), (x * length * 0.28, foot * 0.5, z * width * 0.28))
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    t = np.linspace(0, np.pi * 0.9, 10)
    x = -length * 0.44
    arc = np.stack([x + 0.08 * (1 - np.cos(t)), foot + height + 0.15 + 0.06 * np.sin(t), np.zeros(10)], axis=1)
    return assemble(
        tub, feet, [rod((x, foot + height - 0.1, 0), (x, foot + height + 0.15, 0), 0.018), sweep(arc, 0.016)]
    )


@category("cone", "cone", "base")
def cone(rng: Random) -> Mesh:
    radius, height = rng.uniform(0.1, 0.3), rng.uniform(0.3, 0.8)
    body = cylinder(radius, height, (0, height / 2, 0), top=radius * rng.uniform(0, 0.2))
    base = [box((radius * 2.6, 0.03, radius * 2.6), (0, 0.015, 0))] if rng.random() < 0.6 else []
    return assemble(body, base)


@category("stairs", "step", "rail")
def stairs(rng: Random) -> Mesh:
    count, width = rng.integers(4, 10), rng.uniform(0.7, 1.3)
    rise, run = rng.uniform(0.16, 0.2), rng.uniform(0.24, 0.32)
    if rng.random() < 0.6:
        steps = [box((width, rise * (i + 1), run), (0, rise * (i + 1) / 2, -run * i)) for i in range(count)]
    else:
        steps = [box((width, 0.05, run * 1.1), (0, rise * (i + 1), -run * i)) for i in range(count)]
        slope = [(0, 0), (0.1, 0), (-run * (count - 1) + 0.1, rise * count), (-run * (count - 1) - 0.15, rise * count)]
        beam = turn(prism(slope[::-1], 0.05), "y", -90)
        steps.append(mirror(move(beam, (width / 2, 0, 0))))
    rails = []
    if rng.random() < 0.6:
        x, tall = width / 2 - 0.03, rng.uniform(0.8, 1)
        tops = [(x, rise * (i + 1) + tall, -run * i) for i in range(count)]
        rails = [mirror(rod(tops[0], tops[-1], 0.025))]
        rails += [mirror(rod((x, rise * (i + 1), -run * i), tops[i], 0.015)) for i in range(0, count, 2)]
    return assemble(steps, rails)


@category("tent", "canvas", "pole")
def tent(rng: Random) -> Mesh:
    width, length, height = rng.uniform(1.4, 2.6), rng.uniform(1.8, 3.0), rng.uniform(1.0, 1.9)
    if rng.random() < 0.6:
        canvas = prism([(-width / 2, 0), (width / 2, 0), (0, height)], length)
        poles = [mirror(rod((0, 0, length / 2), (0, height + 0.1, length / 2), 0.02), "z")]
    else:
        canvas = lathe([(width / 2, 0), (width / 2, height * 0.4), (0, height)], segments=rng.integers(5, 9))
        poles = [rod((0, height * 0.9, 0), (0, height * 1.15, 0), 0.02)]
    pegs = [
        rod((x * width * 0.75, 0, z * length * 0.55), (x * width * 0.2, height * 0.65, z * length * 0.4), 0.01)
        for x in (-1, 1)
        for z in (-1, 1)
    ]
    return assemble(canvas, [*poles, *pegs])
