"""The table of simulated categories: name -> how one object of it is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mae3d.datasets.simulators.objects.primitives import rod
from mae3d.structures.mesh import Mesh, join_meshes

Builder = Callable[[np.random.Generator], Mesh]


@dataclass(frozen=True)
class Category:
    """A parametric family of objects.

    Attributes:
        name: As in ModelNet40, or ShapeNet where ModelNet40 lacks it.
        parts: Names of its parts; a mesh's ``part`` counts from 0 in this order.
        build: Draws the parameters of one object and returns its mesh (y up, front towards +z).
    """

    name: str
    parts: tuple[str, ...]
    build: Builder


CATEGORIES: dict[str, Category] = {}


def category(name: str, *parts: str) -> Callable[[Builder], Builder]:
    """Register a builder under ``name``."""

    def register(build: Builder) -> Builder:
        CATEGORIES[name] = Category(name, parts or ("whole",), build)
        return build

    return register


def assemble(*groups: Mesh | Sequence[Mesh]) -> Mesh:
    """One mesh; the faces of the i-th group get part i (an empty group is a part this object lacks)."""
    labelled = []
    for part, group in enumerate(groups):
        meshes = [group] if isinstance(group, Mesh) else group
        labelled += [mesh.with_part(part) for mesh in meshes]
    return join_meshes(labelled)


def legs(
    width: float, depth: float, height: float, thickness: float, splay: float = 0.0, taper: float = 1.0
) -> list[Mesh]:
    """Four round legs from the floor (y = 0) up to ``height``, their tops at the corners of ``width`` x ``depth``."""
    return [
        rod(
            (x * (width / 2 + splay), 0, z * (depth / 2 + splay)),
            (x * width / 2, height, z * depth / 2),
            thickness * taper,
            thickness,
        )
        for x in (-1, 1)
        for z in (-1, 1)
    ]
