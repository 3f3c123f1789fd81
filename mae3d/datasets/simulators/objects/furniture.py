# ruff: noqa: D103 (the class name is the documentation of a builder)
"""Simulated furniture. Lengths in metres, y up, floor at y = 0, front towards +z."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from mae3d.datasets.simulators.objects.categories import assemble, category, legs
from mae3d.datasets.simulators.objects.primitives import box, cylinder, lathe, mirror, move, rod, sphere, turn
from mae3d.structures.mesh import Mesh

Random = np.random.Generator


@category("chair", "back", "seat", "leg", "arm")
def chair(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.55), rng.uniform(0.35, 0.5)
    back_height, thick = rng.uniform(0.35, 0.7), rng.uniform(0.03, 0.08)
    lean = rng.uniform(0, 15)
    seat = box((width, thick, depth), (0, height, 0))
    rear = -depth / 2 + thick / 2
    if rng.random() < 0.5:
        back = [box((width, back_height, thick * 0.7), (0, height + back_height / 2, rear))]
    else:
        count = rng.integers(3, 6)
        xs = np.linspace(-width / 2 + 0.03, width / 2 - 0.03, count)
        back = [rod((x, height, rear), (x, height + back_height, rear), 0.014) for x in xs]
        back.append(box((width, rng.uniform(0.06, 0.14), 0.03), (0, height + back_height, rear)))
    back = [turn(part, "x", -lean, (0, height, rear)) for part in back]
    if rng.random() < 0.3:
        foot = [rod((0, 0.04, 0), (np.cos(a) * 0.3, 0.02, np.sin(a) * 0.3), 0.025) for a in np.arange(5) * 1.2566]
        support = [cylinder(0.03, height, (0, height / 2, 0)), *foot]
    else:
        support = legs(width - 0.06, depth - 0.06, height, rng.uniform(0.015, 0.03), rng.uniform(0, 0.05), 0.7)
    arms = []
    if rng.random() < 0.5:
        rest, x = height + rng.uniform(0.18, 0.26), width / 2 - 0.02
        bar = box((0.05, 0.03, depth * 0.9), (x, rest, 0))
        post = rod((x, height, depth * 0.35), (x, rest, depth * 0.35), 0.015)
        arms = [mirror(bar), mirror(post)]
    return assemble(back, seat, support, arms)


@category("table", "top", "leg", "support")
def table(rng: Random) -> Mesh:
    height, thick = rng.uniform(0.4, 0.8), rng.uniform(0.025, 0.07)
    kind = rng.choice(["four legs", "pedestal", "trestle"])
    if kind == "pedestal":
        radius = rng.uniform(0.35, 0.7)
        top = cylinder(radius, thick, (0, height, 0))
        column = cylinder(rng.uniform(0.03, 0.08), height, (0, height / 2, 0))
        foot = cylinder(radius * rng.uniform(0.5, 0.75), 0.04, (0, 0.02, 0), top=radius * 0.3)
        return assemble(top, column, foot)
    width, depth = rng.uniform(0.8, 1.8), rng.uniform(0.5, 0.9)
    top = box((width, thick, depth), (0, height, 0))
    if kind == "trestle":
        side = mirror(box((0.05, height, depth * 0.85), (width / 2 - 0.12, height / 2, 0)))
        return assemble(top, side, box((width - 0.3, 0.1, 0.04), (0, height * 0.45, 0)))
    support = legs(width - 0.12, depth - 0.12, height, rng.uniform(0.02, 0.045), 0, rng.uniform(0.5, 1))
    apron = []
    if rng.random() < 0.6:
        drop = rng.uniform(0.06, 0.14)
        y = height - drop / 2
        apron = [
            mirror(box((0.02, drop, depth - 0.14), (width / 2 - 0.06, y, 0))),
            mirror(box((width - 0.14, drop, 0.02), (0, y, depth / 2 - 0.06)), "z"),
        ]
    return assemble(top, support, apron)


@category("desk", "top", "drawers", "panel")
def desk(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(1.1, 1.8), rng.uniform(0.55, 0.8), rng.uniform(0.68, 0.78)
    top = box((width, 0.04, depth), (0, height, 0))
    block = rng.uniform(0.3, 0.45)
    x = width / 2 - block / 2
    drawers = [box((block, height, depth * 0.95), (x, height / 2, 0))]
    for y in np.linspace(0.15, height - 0.12, rng.integers(2, 5)):
        drawers.append(box((block * 0.4, 0.025, 0.03), (x, y, depth / 2)))
    other = box((0.04, height, depth * 0.95), (-width / 2 + 0.02, height / 2, 0))
    if rng.random() < 0.4:
        drawers.append(box((block, height, depth * 0.95), (-x, height / 2, 0)))
    back = box((width, height * rng.uniform(0.4, 0.9), 0.02), (0, height * 0.6, -depth / 2 + 0.02))
    return assemble(top, drawers, [other, back])


@category("bench", "seat", "leg", "back")
def bench(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(1.2, 2.2), rng.uniform(0.35, 0.5), rng.uniform(0.38, 0.48)
    slats = rng.integers(3, 6)
    pitch = depth / slats
    seat = [box((width, 0.03, pitch * 0.75), (0, height, -depth / 2 + pitch * (i + 0.5))) for i in range(slats)]
    x = width / 2 - rng.uniform(0.08, 0.25)
    support = [mirror(box((0.06, height, depth * 0.9), (x, height / 2, 0)))]
    back = []
    if rng.random() < 0.7:
        lean = rng.uniform(5, 20)
        rise = rng.uniform(0.3, 0.5)
        rows = [box((width, rise / 4, 0.025), (0, height + rise * f, -depth / 2)) for f in (0.35, 0.7, 1.0)]
        rows.append(mirror(box((0.05, rise * 1.1, 0.04), (x, height + rise * 0.5, -depth / 2 - 0.03))))
        back = [turn(row, "x", -lean, (0, height, -depth / 2)) for row in rows]
    return assemble(seat, support, back)


@category("stool", "seat", "leg", "rung")
def stool(rng: Random) -> Mesh:
    height, radius, splay = rng.uniform(0.4, 0.85), rng.uniform(0.14, 0.22), rng.uniform(0.0, 0.12)
    seat = cylinder(radius, rng.uniform(0.03, 0.09), (0, height, 0), top=radius * rng.uniform(0.85, 1))
    count = rng.integers(3, 5)
    angles = np.arange(count) * 2 * np.pi / count
    spread, rung = radius * 0.8, height * rng.uniform(0.25, 0.45)
    ends = [(np.cos(a), np.sin(a)) for a in angles]
    support = [
        rod((c * (spread + splay), 0, s * (spread + splay)), (c * spread, height, s * spread), 0.02) for c, s in ends
    ]
    at = spread + splay * (1 - rung / height)
    rungs = [
        rod((c * at, rung, s * at), (d * at, rung, t * at), 0.012) for (c, s), (d, t) in zip(ends, ends[1:] + ends[:1])
    ]
    return assemble(seat, support, rungs)


@category("bed", "mattress", "frame", "board", "pillow")
def bed(rng: Random) -> Mesh:
    width, length, height = rng.uniform(0.9, 1.9), rng.uniform(1.9, 2.15), rng.uniform(0.25, 0.45)
    mattress = box((width * 0.97, 0.22, length * 0.97), (0, height + 0.13, 0))
    frame = [box((width, 0.12, length), (0, height, 0)), *legs(width - 0.1, length - 0.1, height, 0.04)]
    head = rng.uniform(0.35, 0.8)
    boards = [box((width, head + height, 0.06), (0, (head + height) / 2, -length / 2))]
    if rng.random() < 0.5:
        foot = height + rng.uniform(0.15, 0.35)
        boards.append(box((width, foot, 0.05), (0, foot / 2, length / 2)))
    pillow = sphere((0.3, 0.09, 0.2), (0, height + 0.3, -length / 2 + 0.28))
    pillows = [mirror(move(pillow, (width / 4, 0, 0)))] if width > 1.3 else [pillow]
    return assemble(mattress, frame, boards, pillows)


@category("sofa", "seat", "back", "arm", "leg")
def sofa(rng: Random) -> Mesh:
    width, depth, seat_height = rng.uniform(1.3, 2.4), rng.uniform(0.75, 0.95), rng.uniform(0.38, 0.46)
    arm, back, foot = rng.uniform(0.12, 0.25), rng.uniform(0.35, 0.5), rng.uniform(0.04, 0.12)
    inner, cushions = width - 2 * arm, rng.integers(2, 4)
    piece = inner / cushions
    base = box((width, seat_height - 0.15 - foot, depth), (0, (seat_height - 0.15 + foot) / 2, 0))
    centers = [-inner / 2 + piece * (i + 0.5) for i in range(cushions)]
    seat = [box((piece * 0.96, 0.16, depth * 0.75), (x, seat_height - 0.07, depth * 0.1)) for x in centers]
    rest = box((width, back + seat_height - foot, 0.18), (0, (back + seat_height + foot) / 2, -depth / 2 + 0.09))
    pads = [turn(box((piece * 0.92, back * 0.9, 0.14), (x, seat_height + back * 0.45, -depth / 2 + 0.24)), "x", -8,
                 (0, seat_height, -depth / 2 + 0.24)) for x in centers]  # fmt: skip
    top = seat_height + rng.uniform(0.12, 0.25)
    arms = mirror(box((arm, top - foot, depth), (width / 2 - arm / 2, (top + foot) / 2, 0)))
    return assemble([base, *seat], [rest, *pads], arms, legs(width - 0.2, depth - 0.2, foot, 0.03))


@category("bookshelf", "frame", "shelf", "books")
def bookshelf(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(0.6, 1.4), rng.uniform(0.25, 0.4), rng.uniform(1.2, 2.2)
    sides = mirror(box((0.03, height, depth), (width / 2, height / 2, 0)))
    levels = np.linspace(0.04, height, rng.integers(4, 8))
    shelves = [box((width, 0.03, depth), (0, y, 0)) for y in levels]
    frame = [sides] + ([box((width, height, 0.01), (0, height / 2, -depth / 2))] if rng.random() < 0.6 else [])
    books = []
    for y, above in pairwise(levels):
        if rng.random() < 0.5:
            fill, tall = rng.uniform(0.2, 0.8) * width, (above - y) * rng.uniform(0.5, 0.85)
            books.append(box((fill, tall, depth * 0.7), ((fill - width) / 2, y + tall / 2, 0)))
    return assemble(frame, shelves, books)


@category("cabinet", "body", "door", "handle", "leg")
def cabinet(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(0.6, 1.4), rng.uniform(0.4, 0.6), rng.uniform(0.7, 1.9)
    foot, doors = rng.uniform(0.04, 0.14), rng.integers(1, 4)
    piece = width / doors
    body = box((width, height, depth), (0, foot + height / 2, 0))
    centers = [-width / 2 + piece * (i + 0.5) for i in range(doors)]
    panels = [box((piece * 0.94, height * 0.92, 0.02), (x, foot + height / 2, depth / 2 + 0.01)) for x in centers]
    y = foot + height * rng.uniform(0.45, 0.65)
    grips = [box((0.02, 0.16, 0.04), (x + piece * 0.38, y, depth / 2 + 0.04)) for x in centers]
    return assemble(body, panels, grips, legs(width - 0.1, depth - 0.1, foot, 0.025))


@category("night_stand", "body", "drawer", "leg")
def night_stand(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(0.4, 0.6), rng.uniform(0.35, 0.5), rng.uniform(0.25, 0.45)
    foot, rows = rng.uniform(0.1, 0.3), rng.integers(1, 4)
    top = box((width + 0.05, 0.03, depth + 0.04), (0, foot + height, 0))
    body = box((width, height, depth), (0, foot + height / 2, 0))
    piece, drawers = height / rows, []
    for row in range(rows):
        y = foot + piece * (row + 0.5)
        drawers += [
            box((width * 0.9, piece * 0.85, 0.02), (0, y, depth / 2 + 0.01)),
            sphere(0.02, (0, y, depth / 2 + 0.04)),
        ]
    return assemble([top, body], drawers, legs(width - 0.05, depth - 0.05, foot, 0.022, 0, 0.6))


@category("piano", "body", "keys", "pedal")
def piano(rng: Random) -> Mesh:
    width, depth, height = rng.uniform(1.4, 1.6), rng.uniform(0.3, 0.42), rng.uniform(1.1, 1.35)
    shelf, reach = rng.uniform(0.62, 0.7), rng.uniform(0.25, 0.32)
    body = [
        box((width, height, depth), (0, height / 2, 0)),
        box((width, 0.08, reach), (0, shelf, depth / 2 + reach / 2)),
        mirror(box((0.07, shelf, 0.07), (width / 2 - 0.05, shelf / 2, depth / 2 + reach - 0.05))),
        box((width + 0.04, 0.03, depth + 0.04), (0, height, 0)),
    ]
    keys = [box((width * 0.88, 0.025, reach * 0.5), (0, shelf + 0.05, depth / 2 + reach * 0.65))]
    keys += [
        box((0.015, 0.03, reach * 0.3), (x, shelf + 0.07, depth / 2 + reach * 0.52))
        for x in np.linspace(-0.42, 0.42, 18) * width
    ]
    pedals = [box((0.03, 0.02, 0.12), (x, 0.05, depth / 2 + 0.06)) for x in (-0.1, 0, 0.1)]
    return assemble(body, keys, pedals)


@category("door", "panel", "frame", "handle")
def door(rng: Random) -> Mesh:
    width, height, thick = rng.uniform(0.75, 1.0), rng.uniform(1.95, 2.3), rng.uniform(0.04, 0.06)
    trim = rng.uniform(0.06, 0.12)
    panel = [box((width, height, thick), (0, height / 2, 0))]
    for y in np.linspace(0.3, 0.72, rng.integers(1, 4)):
        panel.append(box((width * 0.6, height * 0.18, thick * 1.4), (0, height * y, 0)))
    frame = [
        mirror(box((trim, height + trim, thick * 2.5), (width / 2 + trim / 2, (height + trim) / 2, 0))),
        box((width, trim, thick * 2.5), (0, height + trim / 2, 0)),
    ]
    handle = mirror(rod((width * 0.4, height * 0.47, 0.06), (width * 0.28, height * 0.47, 0.06), 0.015), "z")
    return assemble(panel, frame, handle)


@category("lamp", "base", "shade", "bulb", "pole")
def lamp(rng: Random) -> Mesh:
    height, radius = rng.uniform(0.35, 1.6), rng.uniform(0.1, 0.2)
    base = cylinder(radius * rng.uniform(0.7, 1.1), 0.03, (0, 0.015, 0), top=radius * rng.uniform(0.3, 0.7))
    lower, tall = rng.uniform(0.12, 0.26), rng.uniform(0.15, 0.3)
    upper = lower * rng.uniform(0.4, 1.0)
    shade = lathe([(lower, -tall / 2), (upper, tall / 2), (upper - 0.004, tall / 2), (lower - 0.004, -tall / 2)])
    bulb = sphere((0.035, 0.05, 0.035))
    if rng.random() < 0.35:
        elbow, head = np.array([-0.25, 0.32, 0]), np.array([0.12, 0.55, 0])
        pole = [rod((0, 0.02, 0), elbow, 0.012), rod(elbow, head, 0.012)]
        tilt = rng.uniform(-50, -20)
        shade, bulb = (move(turn(m, "z", tilt), head) for m in (shade, bulb))
        return assemble(base, shade, bulb, pole)
    pole = [cylinder(rng.uniform(0.008, 0.02), height, (0, height / 2, 0))]
    if height < 0.6:
        pole.append(sphere((0.07, height * 0.3, 0.07), (0, height * 0.35, 0)))
    return assemble(base, move(shade, (0, height, 0)), move(bulb, (0, height, 0)), pole)
