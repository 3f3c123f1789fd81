"""Files that are computed once from a data set: the ModelNet40 cache and the few-shot folds."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.files import atomic_write, read_lines, read_npy, read_table
from mae3d.datasets.objects.fewshot import QUERIES, fold_path
from mae3d.datasets.objects.modelnet40 import HINT, STORED_POINTS, cache_path, read_cache, reduce_cloud
from mae3d.datasets.parallel import Progress, run_parallel
from mae3d.errors import DataError


def _reduce_file(task: tuple[Path, Path, int, int]) -> None:
    """Reduce one text file to 8192 points and store the result."""
    source, target, seed, index = task
    points = read_table(source, HINT)
    if points.shape[1] != 6 or not np.isfinite(points).all():
        raise DataError(f"{source}: expected 6 columns of finite numbers, found {list(points.shape)}. {HINT}")
    if len(points) > STORED_POINTS:
        points = reduce_cloud(points, STORED_POINTS, np.random.default_rng((seed, index)))
    with atomic_write(target) as file:
        np.save(file, points)


def build_modelnet_cache(
    root: Path,
    split: str,
    *,
    num_category: int = 40,
    seed: int = 0,
    workers: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Write ``modelnet40_<split>_8192pts_fps.dat``: furthest-point subsets from a random first index, in list order.

    Finished clouds are kept beside the cache until it is whole, so an interrupted build goes on where it stopped.

    Raises:
        DataError: A list or text file is missing or malformed.
    """
    target = cache_path(root, split, num_category)
    classes = {
        name: label for label, name in enumerate(read_lines(root / f"modelnet{num_category}_shape_names.txt", HINT))
    }
    names = read_lines(root / f"modelnet{num_category}_{split}.txt", HINT)
    parts = root / f".{target.stem}.seed{seed}.parts"
    tasks = [
        (root / name.rsplit("_", 1)[0] / f"{name}.txt", parts / f"{name}.npy", seed, index)
        for index, name in enumerate(names)
    ]
    run_parallel(_reduce_file, [task for task in tasks if not task[1].exists()], workers=workers, progress=progress)
    clouds = [read_npy(part, HINT) for _, part, _, _ in tasks]
    labels = [np.array([classes[name.rsplit("_", 1)[0]]], dtype=np.int32) for name in names]
    save_array_pickle([clouds, labels], target)
    shutil.rmtree(parts)
    return target


def build_fewshot_folds(
    modelnet_root: Path,
    root: Path,
    *,
    ways: Sequence[int] = (5, 10),
    shots: Sequence[int] = (10, 20),
    folds: int = 10,
    seed: int = 0,
    num_category: int = 40,
) -> list[Path]:
    """Write ``{W}way_{S}shot/{fold}.pkl`` from the ModelNet40 caches; existing folds are kept.

    An episode draws ``way`` classes, then ``shot`` clouds of each from the training split and 20 from the test split.

    Raises:
        DataError: Too few classes have enough clouds.
    """
    clouds = {split: read_cache(cache_path(modelnet_root, split, num_category)) for split in ("train", "test")}
    members = {
        split: {label: np.flatnonzero(np.array(labels) == label) for label in sorted(set(labels))}
        for split, (_, labels) in clouds.items()
    }
    written = []
    for way in ways:
        for shot in shots:
            able = [
                label
                for label, rows in members["train"].items()
                if len(rows) >= shot and len(members["test"].get(label, ())) >= QUERIES
            ]
            if len(able) < way:
                raise DataError(
                    f"{modelnet_root}: only {len(able)} classes have {shot} training and {QUERIES} test clouds, "
                    f"{way} are needed for {way}-way {shot}-shot episodes. Use more clouds or smaller episodes."
                )
            for fold in range(folds):
                path = fold_path(root, way, shot, fold)
                if not path.exists():
                    generator = np.random.default_rng((seed, way, shot, fold))
                    save_array_pickle(_draw_episode(clouds, members, able, way, shot, generator), path)
                written.append(path)
    return written


def _draw_episode(
    clouds: dict[str, tuple[list[np.ndarray], list[int]]],
    members: dict[str, dict[int, np.ndarray]],
    able: list[int],
    way: int,
    shot: int,
    generator: np.random.Generator,
) -> dict[str, list[tuple[np.ndarray, int, int]]]:
    episode: dict[str, list[tuple[np.ndarray, int, int]]] = {"train": [], "test": []}
    for label, original in enumerate(generator.choice(able, way, replace=False).tolist()):
        for split, count in (("train", shot), ("test", QUERIES)):
            rows = generator.choice(members[split][original], count, replace=False)
            episode[split] += [(clouds[split][0][row], label, original) for row in rows]
    return episode
