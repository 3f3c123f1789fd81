"""Draws clouds of simulated objects: a new object, then points on its surface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mae3d.datasets.simulators.objects.categories import CATEGORIES, Category
from mae3d.datasets.simulators.objects.primitives import turn
from mae3d.errors import ConfigError
from mae3d.structures.mesh import Mesh


@dataclass(frozen=True)
class SimulatedCloud:
    """One simulated object.

    Attributes:
        category: Its name.
        points: float32 [N, 3], uniform by area, centred at the mean and scaled to unit radius; y up.
        normals: float32 [N, 3], unit length.
        part: int64 [N], counted from 0 within the category.
    """

    category: str
    points: np.ndarray
    normals: np.ndarray
    part: np.ndarray

    def with_normals(self) -> np.ndarray:
        """float32 [N, 6]: x y z nx ny nz."""
        return np.concatenate([self.points, self.normals], axis=1)


def find_categories(names: Sequence[str] | None = None) -> list[Category]:
    """Categories in alphabetical order, all of them or those named."""
    unknown = sorted(set(names or ()) - set(CATEGORIES))
    if unknown:
        raise ConfigError(f"no simulated category {', '.join(unknown)}; there are: {', '.join(sorted(CATEGORIES))}")
    return [CATEGORIES[name] for name in sorted(set(names) if names is not None else CATEGORIES)]


def simulate_mesh(category: Category, generator: np.random.Generator, *, stretch: float = 0.1) -> Mesh:
    """A new object: parameters drawn by its builder, then each axis stretched by up to ``stretch``."""
    scale = generator.uniform(1 - stretch, 1 + stretch, 3)
    return category.build(generator).transformed(np.diag(scale))


def simulate_cloud(
    category: Category,
    generator: np.random.Generator,
    num_points: int = 8192,
    *,
    stretch: float = 0.1,
    turned: bool = False,
    noise: float = 0.0,
) -> SimulatedCloud:
    """A new object as a cloud.

    Args:
        category: Entry of ``CATEGORIES``.
        generator: Source of all draws.
        num_points: Points on its surface.
        stretch: Largest relative change of length along each axis.
        turned: Turn the object about the y axis by any angle; it faces +z otherwise.
        noise: Standard deviation of normal noise added to the coordinates, in unit radii.
    """
    mesh = simulate_mesh(category, generator, stretch=stretch)
    if turned:
        mesh = turn(mesh, "y", generator.uniform(0, 360))
    points, normals, faces = mesh.sample_surface(num_points, generator)
    points = points - points.mean(axis=0)
    points /= np.linalg.norm(points, axis=1).max()
    if noise:
        points += generator.normal(0, noise, points.shape).astype(np.float32)
    return SimulatedCloud(category.name, points, normals, mesh.part[faces])


def object_generator(seed: int, category: str, number: int) -> np.random.Generator:
    """Generator of object ``number`` of a category: the same whatever else is simulated."""
    return np.random.default_rng((seed, number, *category.encode()))
