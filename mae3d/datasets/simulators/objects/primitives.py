"""Building blocks of the simulated objects: small closed triangle meshes, y up.

Topology (which faces there are) is cached; only vertices are computed for each object.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mae3d.structures.mesh import Mesh, join_meshes

SEGMENTS = 24
Vector = Sequence[float]

_BOX_CORNERS = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
_BOX_FACES = np.array(
    [
        [0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5],
        [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
        [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3],
    ]
)  # fmt: skip


def box(size: Vector, center: Vector = (0, 0, 0), taper: float = 1.0) -> Mesh:
    """Axis-aligned box; its top face is scaled by ``taper`` in x and z."""
    corners = _BOX_CORNERS * np.asarray(size, dtype=np.float64)
    if taper != 1.0:
        corners[corners[:, 1] > 0] *= (taper, 1.0, taper)
    return Mesh(corners + center, _BOX_FACES)


@lru_cache(maxsize=256)
def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Triangles between consecutive rings: ``rows`` rings of ``columns`` vertices, closed around."""
    ring, step = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    following = (step + 1) % columns
    a, b = ring * columns + step, ring * columns + following
    c, d = a + columns, b + columns
    triangles = np.stack([np.stack([a, c, b], -1), np.stack([b, c, d], -1)], axis=2)
    return triangles.reshape(-1, 3)


@lru_cache(maxsize=64)
def _circle(segments: int) -> np.ndarray:
    angle = np.arange(segments) * (2 * math.pi / segments)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)  # [S, 2]


def lathe(profile: Sequence[tuple[float, float]], segments: int = SEGMENTS, squash: float = 1.0) -> Mesh:
    """Surface of revolution about y. ``profile`` lists (radius, height) from bottom to top; radius 0 closes an end.

    ``squash`` scales z, for flattened bodies.
    """
    profile_array = np.asarray(profile, dtype=np.float64)
    circle = _circle(segments)
    radius, height = profile_array[:, :1], profile_array[:, 1:]
    x, z = radius * circle[:, 0], radius * circle[:, 1] * squash  # [R, S]
    vertices = np.stack([x, np.broadcast_to(height, x.shape), z], axis=2).reshape(-1, 3)
    return Mesh(vertices, _grid_faces(len(profile_array), segments))


def cylinder(radius: float, height: float, center: Vector = (0, 0, 0), top: float | None = None) -> Mesh:
    """Closed cylinder about y; a ``top`` radius other than ``radius`` makes a cone or frustum."""
    top = radius if top is None else top
    half = height / 2
    return move(lathe([(0, -half), (radius, -half), (top, half), (0, half)]), center)


def tube(profile: Sequence[tuple[float, float]], wall: float, segments: int = SEGMENTS) -> Mesh:
    """Open vessel: ``profile`` (radius, height) from the closed bottom up, with an inner wall ``wall`` inside it."""
    (first_radius, bottom), *_ = profile
    inner = [(max(radius - wall, 0.0), max(height, bottom + wall)) for radius, height in reversed(profile)]
    return lathe([(0, bottom), (first_radius, bottom), *profile[1:], *inner, (0, bottom + wall)], segments)


def sphere(radius: Vector | float, center: Vector = (0, 0, 0), start: float = -90, stop: float = 90) -> Mesh:
    """Ellipsoid with semi-axes ``radius``; ``start`` and ``stop`` cut it at latitudes in degrees."""
    latitude = np.radians(np.linspace(start, stop, 13))
    mesh = lathe(list(zip(np.maximum(np.cos(latitude), 0), np.sin(latitude))))
    axes = np.broadcast_to(np.asarray(radius, dtype=np.float64), (3,))
    return Mesh(mesh.vertices * axes + center, mesh.faces)


def torus(radius: float, thickness: float, center: Vector = (0, 0, 0), start: float = 0, stop: float = 360) -> Mesh:
    """Ring in the xy plane (arc from ``start`` to ``stop`` degrees) of circular section ``thickness`` (a radius)."""
    steps = max(4, round(abs(stop - start) / 15)) + 1
    angle = np.radians(np.linspace(start, stop, steps))
    path = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(steps)], axis=1)
    return move(sweep(path, thickness), center)


def sweep(path: np.ndarray, thickness: float | Sequence[float], segments: int = 10) -> Mesh:
    """Round tube of radius ``thickness`` (one, or one per vertex) along ``path`` [P, 3]."""
    path = np.asarray(path, dtype=np.float64)
    tangent = np.gradient(path, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    helper = np.eye(3)[np.abs(tangent).max(axis=0).argmin()]
    side = np.cross(tangent, helper)
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    up = np.cross(side, tangent)
    circle = _circle(segments) * 1.0
    radius = np.broadcast_to(np.asarray(thickness, dtype=np.float64), (len(path),))[:, None, None]
    ring = circle[None, :, :1] * side[:, None] + circle[None, :, 1:] * up[:, None]  # [P, S, 3]
    body = path[:, None] + radius * ring
    ends = np.broadcast_to(path[[0, -1], None], (2, segments, 3))
    vertices = np.concatenate([ends[:1], body, ends[1:]]).reshape(-1, 3)
    return Mesh(vertices, _grid_faces(len(path) + 2, segments))


def rod(start: Vector, stop: Vector, thickness: float, end_thickness: float | None = None) -> Mesh:
    """Straight round bar from ``start`` to ``stop``."""
    thickness_end = thickness if end_thickness is None else end_thickness
    return sweep(np.array([start, stop], dtype=np.float64), (thickness, thickness_end), segments=12)


def prism(outline: Sequence[tuple[float, float]], depth: float, center: Vector = (0, 0, 0)) -> Mesh:
    """Outline in the xy plane (counter-clockwise, star-shaped about its mean) extruded by ``depth`` along z."""
    flat = np.asarray(outline, dtype=np.float64)
    count, half = len(flat), depth / 2
    middle = flat.mean(axis=0)

    def ring(points: np.ndarray, z: float) -> np.ndarray:
        return np.concatenate([points, np.full((count, 1), z)], axis=1)

    hub = np.broadcast_to(middle, (count, 2))
    vertices = np.concatenate([ring(hub, half), ring(flat, half), ring(flat, -half), ring(hub, -half)])
    return Mesh(vertices + center, _grid_faces(4, count))


def loft(sections: Sequence[np.ndarray]) -> Mesh:
    """Closed body through ``sections`` (each [S, 3], same S), as a hull or a wing has."""
    ends = [np.broadcast_to(section.mean(axis=0), section.shape) for section in (sections[0], sections[-1])]
    vertices = np.concatenate([ends[0], *sections, ends[1]])
    return Mesh(vertices, _grid_faces(len(sections) + 2, len(sections[0])))


def move(mesh: Mesh, shift: Vector) -> Mesh:
    """The mesh, shifted."""
    return Mesh(mesh.vertices + np.asarray(shift), mesh.faces, mesh.part)


def turn(mesh: Mesh, axis: str, degrees: float, pivot: Vector = (0, 0, 0)) -> Mesh:
    """The mesh, turned right-handed about ``axis`` ("x", "y" or "z") through ``pivot``."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]
    anchor = np.asarray(pivot, dtype=np.float64)
    return Mesh((mesh.vertices - anchor) @ matrix.T + anchor, mesh.faces, mesh.part)


def mirror(mesh: Mesh, axis: str = "x") -> Mesh:
    """The mesh together with its mirror image in the plane through 0 across ``axis``."""
    sign = np.ones(3)
    sign["xyz".index(axis)] = -1
    return join_meshes([mesh, Mesh(mesh.vertices * sign, mesh.faces[:, ::-1], mesh.part)])
