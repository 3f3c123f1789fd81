"""Triangle meshes: the surface that object clouds are drawn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mae3d.errors import DataError


class SurfaceSample(NamedTuple):
    """Points drawn from a mesh.

    Attributes:
        points: float32 [N, 3], in mesh units.
        normals: float32 [N, 3], unit face normals.
        faces: int64 [N], the triangle each point lies on.
    """

    points: np.ndarray
    normals: np.ndarray
    faces: np.ndarray


@dataclass(frozen=True)
class Mesh:
    """Triangle mesh.

    Attributes:
        vertices: float [V, 3].
        faces: int [F, 3], rows of ``vertices``, counter-clockwise seen from outside.
        part: int [F], part label of each face; None where faces have none.
    """

    vertices: np.ndarray
    faces: np.ndarray
    part: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.faces.size and not 0 <= self.faces.min() <= self.faces.max() < len(self.vertices):
            raise DataError(
                f"mesh: faces refer to vertices {self.faces.min()}..{self.faces.max()}, "
                f"but there are {len(self.vertices)}"
            )

    def scaled_normals(self) -> np.ndarray:
        """float [F, 3]: face normals whose length is twice the area."""
        a, b, c = (self.vertices[self.faces[:, corner]] for corner in range(3))
        return np.cross(b - a, c - a)

    def areas(self) -> np.ndarray:
        """float [F]: area of each triangle."""
        return 0.5 * np.linalg.norm(self.scaled_normals(), axis=1)

    def with_part(self, part: int) -> Mesh:
        """The same mesh, all faces labelled ``part``."""
        return Mesh(self.vertices, self.faces, np.full(len(self.faces), part, dtype=np.int64))

    def transformed(self, matrix: np.ndarray, shift: Sequence[float] = (0.0, 0.0, 0.0)) -> Mesh:
        """Vertices v become ``matrix @ v + shift``; faces are turned over where ``matrix`` mirrors."""
        matrix = np.asarray(matrix, dtype=np.float64)
        faces = self.faces[:, ::-1] if np.linalg.det(matrix) < 0 else self.faces
        return Mesh(self.vertices @ matrix.T + np.asarray(shift), faces, self.part)

    def sample_surface(self, count: int, generator: np.random.Generator) -> SurfaceSample:
        """Draw ``count`` points independently and uniformly by area.

        Raises:
            DataError: The mesh has no area.
        """
        normals = self.scaled_normals()
        doubled = np.linalg.norm(normals, axis=1)
        cumulative = np.cumsum(doubled)
        if not len(cumulative) or not cumulative[-1] > 0 or not np.isfinite(cumulative[-1]):
            raise DataError(f"mesh: {len(self.faces)} faces without a finite, positive area cannot be sampled")
        faces = np.searchsorted(cumulative, generator.random(count) * cumulative[-1], side="right")
        faces = np.minimum(faces, np.flatnonzero(doubled)[-1])
        u, v = generator.random((2, count, 1))
        # Points of the far half of the parallelogram are folded back into the triangle.
        flip = u + v > 1
        u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
        corners = self.vertices[self.faces[faces]]  # [N, 3 corners, 3]
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        points = a + u * (b - a) + v * (c - a)
        unit = normals[faces] / doubled[faces, None]
        return SurfaceSample(points.astype(np.float32), unit.astype(np.float32), faces)


def join_meshes(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of all ``meshes``; faces without a part get part 0 if any mesh has parts."""
    offsets = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    vertices = np.concatenate([mesh.vertices for mesh in meshes])
    faces = np.concatenate([mesh.faces + offset for mesh, offset in zip(meshes, offsets)])
    if all(mesh.part is None for mesh in meshes):
        return Mesh(vertices, faces)
    parts = [np.zeros(len(m.faces), dtype=np.int64) if m.part is None else m.part for m in meshes]
    return Mesh(vertices, faces, np.concatenate(parts))
