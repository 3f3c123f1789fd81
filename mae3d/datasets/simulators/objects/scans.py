"""Simulated scans of objects in rooms, written as ScanObjectNN lies on disk.

An object stands on a floor, perhaps before a wall and beside other things; a few cameras see part of it; the seen
points are cropped by the object's box, as it is or perturbed. Variants are named as published: T25/T50 shifts the box
by up to 25/50 % of its size, R turns the cloud about the vertical, S scales the box by 0.75 to 1.25.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mae3d.datasets.objects.scanobjectnn import CLASSES, VARIANTS, file_path
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.datasets.simulators.claim import claim_folder
from mae3d.datasets.simulators.objects.categories import CATEGORIES
from mae3d.datasets.simulators.objects.generate import object_generator, simulate_mesh
from mae3d.datasets.simulators.objects.layouts import plan_objects, write_hdf5
from mae3d.datasets.simulators.objects.primitives import box, move, turn
from mae3d.errors import ConfigError
from mae3d.structures.mesh import Mesh, join_meshes

SOURCE = {**{name: name for name in CLASSES}, "display": "monitor", "shelf": "bookshelf"}
COPIES = 5  # perturbed clouds of one scan, as published
POINTS = 2048


@dataclass(frozen=True)
class Scan:
    """What the cameras saw.

    Attributes:
        points: float32 [N, 3], y up; the object's radius is about 1.
        foreground: bool [N], points of the object.
    """

    points: np.ndarray
    foreground: np.ndarray


def _scene(name: str, generator: np.random.Generator) -> Mesh:
    """The object (part 1) in its surroundings (part 0)."""
    mesh = simulate_mesh(CATEGORIES[SOURCE[name]], generator)
    mesh = turn(mesh, "y", generator.uniform(-40, 40))
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    scale = 2 / np.linalg.norm(high - low)
    mesh = mesh.transformed(scale * np.eye(3), -scale * (low + high) / 2).with_part(1)
    bottom, back = mesh.vertices[:, 1].min(), mesh.vertices[:, 2].min()
    room = [box((3, 0.02, 3), (0, bottom - 0.01, 0))]
    if generator.random() < 0.5:
        room.append(box((3, 2, 0.02), (0, bottom + 1.0, back - generator.uniform(0.05, 0.4))))
    for _ in range(generator.integers(1, 4)):
        size = generator.uniform(0.2, 0.9, 3)
        angle, distance = generator.uniform(0, 2 * np.pi), generator.uniform(0.9, 1.6)
        thing = turn(box(size), "y", generator.uniform(0, 90))
        room.append(move(thing, (distance * np.cos(angle), bottom + size[1] / 2, distance * np.sin(angle))))
    return join_meshes([mesh, *room])


def visible_points(points: np.ndarray, normals: np.ndarray, camera: np.ndarray, step: float = 0.015) -> np.ndarray:
    """bool [N]: points that face ``camera`` [3] and are nearest to it within a cell of ``step`` radians."""
    ray = points - camera
    depth = np.linalg.norm(ray, axis=1)
    azimuth = np.arctan2(ray[:, 0], ray[:, 2])
    polar = np.arcsin(np.clip(ray[:, 1] / depth, -1, 1))
    cell = np.floor(azimuth / step).astype(np.int64) * 100_003 + np.floor(polar / step).astype(np.int64)
    _, cell = np.unique(cell, return_inverse=True)
    nearest = np.full(int(cell.max()) + 1, np.inf)
    np.minimum.at(nearest, cell, depth)
    return ((ray * normals).sum(axis=1) < 0) & (depth < nearest[cell] * 1.02)


def simulate_scan(name: str, generator: np.random.Generator) -> Scan:
    """A new object of a ScanObjectNN class in a new room, seen by two or three cameras before it."""
    scene = _scene(name, generator)
    points, normals, faces = scene.sample_surface(40_000, generator)
    seen = np.zeros(len(points), dtype=bool)
    for _ in range(generator.integers(2, 4)):
        angle = generator.uniform(-1.2, 1.2)
        camera = np.array([3 * np.sin(angle), generator.uniform(0.6, 2.0), 3 * np.cos(angle)])
        seen |= visible_points(points, normals, camera)
    noisy = points[seen] + generator.normal(0, 0.006, (int(seen.sum()), 3))
    return Scan(noisy.astype(np.float32), scene.part[faces[seen]] == 1)


def crop_scan(scan: Scan, variant: str, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut one cloud of a variant out of a scan.

    Returns:
        Points float32 [2048, 3], centred, of unit radius, and their mask int32 [2048]: -1 background, 0 object.
    """
    own = scan.points[scan.foreground]
    center, size = (own.min(axis=0) + own.max(axis=0)) / 2, np.ptp(own, axis=0)
    inside = scan.foreground
    if variant != "OBJ_ONLY":
        limit = 0.5 if "T50" in variant else 0.25 if "T25" in variant else 0.0
        stretch = generator.uniform(0.75, 1.25) if variant.endswith("S") else 1.05
        while True:
            moved = center + generator.uniform(-limit, limit, 3) * size
            # Flat objects still get a box of some thickness.
            half = np.maximum(stretch * size, 0.2) / 2
            inside = (np.abs(scan.points - moved) <= half).all(axis=1)
            if (inside & scan.foreground).sum() >= 128:
                break
            limit *= 0.8  # hollow objects: a far shift may catch none of their points
    rows = np.flatnonzero(inside)
    rows = generator.choice(rows, POINTS, replace=len(rows) < POINTS)
    points = scan.points[rows] - scan.points[rows].mean(axis=0)
    if "_R" in variant:
        angle = generator.uniform(0, 2 * np.pi)
        c, s = np.cos(angle), np.sin(angle)
        points = points @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    points = points / np.linalg.norm(points, axis=1).max()
    return points.astype(np.float32), np.where(scan.foreground[rows], 0, -1).astype(np.int32)


def _crop_all(task: tuple[str, int, int, tuple[str, ...]]) -> dict[str, list[tuple[np.ndarray, np.ndarray]]]:
    """Clouds of all wanted variants of one scan."""
    name, number, seed, variants = task
    scan = simulate_scan(name, object_generator(seed, name, number))
    return {
        variant: [
            crop_scan(scan, variant, object_generator(seed, f"{name} {variant} {copy}", number))
            for copy in range(COPIES if variant.startswith("PB") else 1)
        ]
        for variant in variants
    }


def write_scanobjectnn(
    root: Path,
    count: int,
    *,
    seed: int = 0,
    variants: tuple[str, ...] = ("OBJ_BG", "OBJ_ONLY", "PB_T50_RS"),
    h5_files: bool = False,
    workers: int = 0,
    progress: Progress | None = None,
) -> None:
    """``main_split*/{training,test}_objectdataset*.h5`` of ``count`` scans, five clouds of each for PB variants.

    Args:
        root: Folder ``ScanObjectNN``.
        count: Scans of both splits together.
        seed: Seed of the simulation.
        variants: Which files to write, keys of ``VARIANTS``.
        h5_files: Put the folders one level down, as the archive does.
        workers: Processes.
        progress: Called with (done, total).
    """
    unknown = set(variants) - set(VARIANTS)
    if unknown:
        raise ConfigError(f"no ScanObjectNN variant {sorted(unknown)}; there are {list(VARIANTS)}")
    claim_folder(root, {"layout": "scanobjectnn", "count": count, "seed": seed, "variants": sorted(variants)})
    base = root / "h5_files" if h5_files else root
    for split, objects in plan_objects(list(CLASSES), count).items():
        wanted = tuple(variant for variant in variants if not file_path(base, split, variant).exists())
        if not wanted or not objects:
            continue
        order = np.random.default_rng((seed, split == "test")).permutation(len(objects))
        chosen = [objects[place] for place in order]
        scans = run_parallel(_crop_all, [(*key, seed, wanted) for key in chosen], workers=workers, progress=progress)
        for variant in wanted:
            clouds = [(cloud, mask, name) for (name, _), scan in zip(chosen, scans) for cloud, mask in scan[variant]]
            write_hdf5(
                file_path(base, split, variant),
                data=np.stack([cloud for cloud, _, _ in clouds]),
                label=np.array([CLASSES.index(name) for _, _, name in clouds], dtype=np.int32),
                mask=np.stack([mask for _, mask, _ in clouds]),
            )
