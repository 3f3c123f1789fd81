"""Writes simulated objects as ShapeNet55, ShapeNet with normals, ShapeNetCore.v2.PC15k, ModelNet40 (text, HDF5) and
ShapeNetPart lie on disk.

Every file depends on (seed, class, number) alone. Writing is atomic and goes on where it was interrupted; a folder
that holds anything but the same simulation is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from mae3d.datasets.files import atomic_write
from mae3d.datasets.objects.modelnet40 import CLASSES as MODELNET40_CLASSES
from mae3d.datasets.objects.shapenet_pc15k import TRAIN_POINTS
from mae3d.datasets.objects.shapenet_synsets import PART_RANGES, SYNSETS
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.datasets.simulators.claim import claim_folder
from mae3d.datasets.simulators.objects.categories import CATEGORIES
from mae3d.datasets.simulators.objects.generate import (
    SimulatedCloud,
    find_categories,
    object_generator,
    simulate_cloud,
)
from mae3d.errors import ConfigError, MissingExtraError

TEST_FRACTION = 0.2


def plan_objects(names: list[str], count: int) -> dict[str, list[tuple[str, int]]]:
    """(class, number) of the objects of each split: classes in turn, the last fifth of each class for testing."""
    per_class = [count // len(names) + (place < count % len(names)) for place in range(len(names))]
    plan: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for name, size in zip(names, per_class):
        held_out = max(1, round(size * TEST_FRACTION)) if size > 1 else 0
        plan["train"] += [(name, number) for number in range(size - held_out)]
        plan["test"] += [(name, number) for number in range(size - held_out, size)]
    return plan


def simulate(name: str, number: int, seed: int, points: int) -> SimulatedCloud:
    """Object ``number`` of a class."""
    return simulate_cloud(CATEGORIES[name], object_generator(seed, name, number), points)


def _write_lines(path: Path, lines: list[str]) -> None:
    with atomic_write(path, "w") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _write_table(path: Path, table: np.ndarray, separator: str) -> None:
    row = separator.join(["%.6f"] * table.shape[1]) + "\n"
    with atomic_write(path, "w") as file:
        file.write((row * len(table)) % tuple(table.ravel().tolist()))


def _model_id(name: str, number: int, seed: int) -> str:
    """32 hexadecimal digits, as ShapeNet names its models."""
    return hashlib.md5(f"{seed} {name} {number}".encode()).hexdigest()


def _write_npy(task: tuple[Path, str, int, int, int], *, normals: bool = False) -> None:
    path, name, number, seed, points = task
    if path.exists():
        return
    buffer, cloud = io.BytesIO(), simulate(name, number, seed, points)
    np.save(buffer, cloud.with_normals() if normals else cloud.points)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def write_shapenet55(
    root: Path, count: int, *, seed: int = 0, points: int = 8192, workers: int = 0, progress: Progress | None = None
) -> None:
    """``ShapeNet-55/{train,test}.txt`` and ``shapenet_pc/SYNSET-ID.npy`` under ``root``, ``count`` clouds in all."""
    names = sorted(name for name in CATEGORIES if name in SYNSETS)
    claim_folder(root, {"layout": "shapenet55", "count": count, "seed": seed, "points": points})
    plan, tasks = plan_objects(names, count), []
    for split, objects in plan.items():
        files = [f"{SYNSETS[name]}-{_model_id(name, number, seed)}.npy" for name, number in objects]
        tasks += [(root / "shapenet_pc" / file, *key, seed, points) for file, key in zip(files, objects)]
        _write_lines(root / "ShapeNet-55" / f"{split}.txt", files)
    run_parallel(_write_npy, tasks, workers=workers, progress=progress)


def write_shapenet_feat(
    root: Path, count: int, *, seed: int = 0, points: int = 50000, workers: int = 0, progress: Progress | None = None
) -> None:
    """``{train,test}.txt`` and ``pointcloud/SYNSET/ID.npy``; variations: :func:`build_variations`."""
    names = sorted(name for name in CATEGORIES if name in SYNSETS)
    claim_folder(root, {"layout": "shapenet_feat", "count": count, "seed": seed, "points": points})
    plan, tasks = plan_objects(names, count), []
    for split, objects in plan.items():
        models = [f"{SYNSETS[name]}/{_model_id(name, number, seed)}" for name, number in objects]
        tasks += [(root / "pointcloud" / f"{model}.npy", *key, seed, points) for model, key in zip(models, objects)]
        _write_lines(root / f"{split}.txt", models)
    run_parallel(partial(_write_npy, normals=True), tasks, workers=workers, progress=progress)


def write_shapenet15k(
    root: Path,
    count: int,
    *,
    categories: Sequence[str] | None = None,
    seed: int = 0,
    points: int = 15000,
    workers: int = 0,
    progress: Progress | None = None,
) -> None:
    """``SYNSET/{train,val,test}/ID.npy``, ``count`` clouds in all."""
    names = [category.name for category in find_categories(categories) if category.name in SYNSETS]
    if points <= TRAIN_POINTS:
        raise ConfigError(f"write_shapenet15k: points must be above {TRAIN_POINTS}, the training part, got {points}")
    claim_folder(root, {"layout": "shapenet15k", "count": count, "seed": seed, "points": points, "categories": names})
    plan, tasks = plan_objects(names, count), []
    # Every eighth training object validates: seven tenths train, one validates, two test, as published.
    splits = {
        "train": [key for place, key in enumerate(plan["train"]) if place % 8 != 7],
        "val": plan["train"][7::8],
        "test": plan["test"],
    }
    for split, objects in splits.items():
        folders = [root / SYNSETS[name] / split for name, _ in objects]
        files = [f"{_model_id(*key, seed)}.npy" for key in objects]
        tasks += [(folder / file, *key, seed, points) for folder, file, key in zip(folders, files, objects)]
    run_parallel(_write_npy, tasks, workers=workers, progress=progress)


def _write_modelnet_text(task: tuple[Path, str, int, int, int]) -> None:
    path, name, number, seed, points = task
    if not path.exists():
        _write_table(path, simulate(name, number, seed, points).with_normals(), ",")


def write_modelnet40(
    root: Path, count: int, *, seed: int = 0, points: int = 10000, workers: int = 0, progress: Progress | None = None
) -> None:
    """Lists and ``CLASS/CLASS_0001.txt`` under ``root``; build the cache with ``build_modelnet_cache``."""
    names = sorted(set(MODELNET40_CLASSES) & set(CATEGORIES))
    claim_folder(root, {"layout": "modelnet40", "count": count, "seed": seed, "points": points})
    _write_lines(root / "modelnet40_shape_names.txt", names)
    plan, tasks = plan_objects(names, count), []
    for split, objects in plan.items():
        stems = [f"{name}_{number + 1:04d}" for name, number in objects]
        tasks += [(root / key[0] / f"{stem}.txt", *key, seed, points) for stem, key in zip(stems, objects)]
        _write_lines(root / f"modelnet40_{split}.txt", stems)
    run_parallel(_write_modelnet_text, tasks, workers=workers, progress=progress)


def _simulate_points(task: tuple[str, int, int, int]) -> np.ndarray:
    return simulate(*task).points


def write_hdf5(path: Path, **arrays: np.ndarray) -> None:
    """Write named arrays to an HDF5 file."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("h5py", "objects", f"writing {path.name}") from error
    with atomic_write(path) as file, h5py.File(file, "w") as content:
        for name, array in arrays.items():
            content.create_dataset(name, data=array, compression="gzip", compression_opts=4)


def write_modelnet40_hdf5(
    root: Path, count: int, *, seed: int = 0, points: int = 2048, workers: int = 0, progress: Progress | None = None
) -> None:
    """``ply_data_{train,test}N.h5`` of at most 2048 clouds each, ``{train,test}_files.txt`` and ``shape_names.txt``."""
    names = sorted(set(MODELNET40_CLASSES) & set(CATEGORIES))
    claim_folder(root, {"layout": "modelnet40_hdf5", "count": count, "seed": seed, "points": points})
    _write_lines(root / "shape_names.txt", names)
    for split, objects in plan_objects(names, count).items():
        order = np.random.default_rng((seed, split == "test")).permutation(len(objects))
        files = []
        for first in range(0, len(objects), 2048):
            path = root / f"ply_data_{split}{first // 2048}.h5"
            files.append(f"data/modelnet40_ply_hdf5_2048/{path.name}")
            chosen = [objects[place] for place in order[first : first + 2048]]
            if path.exists():
                continue
            tasks = [(*key, seed, points) for key in chosen]
            data = np.stack(run_parallel(_simulate_points, tasks, workers=workers, progress=progress))
            labels = np.array([[names.index(name)] for name, _ in chosen], dtype=np.uint8)
            write_hdf5(path, data=data, label=labels)
        _write_lines(root / f"{split}_files.txt", files)


def _write_part_text(task: tuple[Path, str, int, int]) -> None:
    path, name, number, seed = task
    if path.exists():
        return
    generator = object_generator(seed, name, number)
    # The real clouds hold between 500 and 3,000 points.
    cloud = simulate_cloud(CATEGORIES[name], generator, int(generator.integers(2048, 3001)))
    part = cloud.part[:, None] + PART_RANGES[name.capitalize()].start
    _write_table(path, np.concatenate([cloud.with_normals(), part], axis=1), " ")


def write_shapenetpart(
    root: Path, count: int, *, seed: int = 0, workers: int = 0, progress: Progress | None = None
) -> None:
    """The 16 labelled classes: ``SYNSET/ID.txt``, ``synsetoffset2category.txt``, ``train_test_split/*.json``."""
    names = [name.lower() for name in PART_RANGES]
    claim_folder(root, {"layout": "shapenetpart", "count": count, "seed": seed})
    _write_lines(root / "synsetoffset2category.txt", [f"{name.capitalize()}\t{SYNSETS[name]}" for name in names])
    plan, tasks = plan_objects(names, count), []
    # Every eighth training object validates, as in the published lists (12,137 / 1,870 / 2,874).
    splits = {
        "train": [key for place, key in enumerate(plan["train"]) if place % 8 != 7],
        "val": plan["train"][7::8],
        "test": plan["test"],
    }
    for split, objects in splits.items():
        entries = [(SYNSETS[name], _model_id(name, number, seed)) for name, number in objects]
        tasks += [(root / entry[0] / f"{entry[1]}.txt", *key, seed) for entry, key in zip(entries, objects)]
        order = np.random.default_rng((seed, len(split))).permutation(len(entries))
        listing = ["/".join(("shape_data", *entries[place])) for place in order]
        with atomic_write(root / "train_test_split" / f"shuffled_{split}_file_list.json", "w") as file:
            json.dump(listing, file)
    run_parallel(_write_part_text, tasks, workers=workers, progress=progress)
