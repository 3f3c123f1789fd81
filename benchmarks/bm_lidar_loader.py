"""Driving data: sweeps a second of the simulator, frames a second of the loader.

The loader's peer is what one writes from the published loaders' description with numpy alone: read, cut, move and
stack each sweep as float64 in a list. Both read the same simulated files, which lie in the page cache after the first
pass.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, run
from mae3d.datasets.lidar import Kitti, LidarDataset, NuScenes, collate_packed
from mae3d.datasets.simulators.driving.kitti_layout import KittiPlan, write_kitti
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.datasets.simulators.driving.scene import build_scene
from mae3d.datasets.simulators.driving.sensors import SENSORS
from mae3d.datasets.simulators.driving.simulate import record
from mae3d.datasets.transforms.lidar import FlipScene, RangeFilter, RotateScene, ScaleScene, ShufflePoints

TITLE = "Driving data: loader, one frame a call"
RANGE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0)
AUGMENT = (FlipScene(), RotateScene(), ScaleScene(), RangeFilter(RANGE), ShufflePoints())


def simulated(folder: Path) -> tuple[Path, Path]:
    with redirect_stderr(StringIO()):
        write_nuscenes(NuScenesPlan(folder / "nuscenes", 2, 1, key_frames=4, seed=0))
        write_kitti(KittiPlan(folder / "kitti", 8, 2, seed=0))
    return folder / "nuscenes", folder / "kitti"


def in_turn(dataset: LidarDataset) -> Call:
    numbers = itertools.cycle(range(len(dataset)))
    return lambda: dataset[next(numbers)]


def plain_nuscenes(dataset: LidarDataset, sweeps: int) -> Call:
    """Read, cut, move and stack in numpy."""
    numbers = itertools.cycle(range(len(dataset)))

    def call() -> np.ndarray:
        frame = dataset.frames.frame(next(numbers))
        points = np.fromfile(str(dataset.root / frame.file), dtype=np.float32).reshape(-1, 5)[:, :4]
        parts, lags = [points], [np.zeros((len(points), 1))]
        used = list(zip(frame.sweep_files, frame.sweep_lag, frame.sensor_from_sweep))[: sweeps - 1]
        for file, lag, matrix in used:
            sweep = np.fromfile(str(dataset.root / file), dtype=np.float32).reshape(-1, 5)[:, :4]
            sweep = sweep[~((np.abs(sweep[:, 0]) < 1) & (np.abs(sweep[:, 1]) < 1))].T
            homogeneous = np.vstack((sweep[:3], np.ones(sweep.shape[1])))
            sweep[:3] = matrix.dot(homogeneous)[:3]
            parts.append(sweep.T)
            lags.append(np.full((sweep.shape[1], 1), lag))
        return np.concatenate((np.concatenate(parts), np.concatenate(lags).astype(np.float32)), axis=1)

    return call


def augmented(dataset: LidarDataset) -> Call:
    samples = [dataset[number] for number in range(4)]
    return lambda: [transformed(s, np.random.default_rng(0)) for s in samples]


def transformed(scene, generator):
    for transform in AUGMENT:
        scene = transform(scene, generator)
    return scene


def cases(nuscenes: Path, kitti: Path) -> Iterator[Case]:
    for sweeps in (1, 2, 10):
        data = NuScenes(nuscenes, "mini_train", sweeps=sweeps, lag=True, remove_close=1.0)
        yield Case(f"nuScenes, {sweeps} sweeps", in_turn(data), {"numpy": plain_nuscenes(data, sweeps)})
    yield Case("KITTI, points in the image", in_turn(Kitti(kitti, "train")))
    data = NuScenes(nuscenes, "mini_train", sweeps=10, transforms=AUGMENT)
    yield Case("nuScenes, 10 sweeps, augmented", in_turn(data))
    plain = NuScenes(nuscenes, "mini_train", sweeps=10)
    batch = collate_packed([plain[number] for number in range(4)])
    yield Case(
        "augmentation of 4 frames of 10 sweeps: packed batch",
        lambda: transformed(batch, torch.Generator().manual_seed(0)),
        {"per sample": augmented(plain)},
    )


def simulator_rates(seconds: float = 4.0) -> str:
    """Sweeps a second of each sensor."""
    lines = [
        "### Simulator, sweeps a second",
        "",
        "| sensor | points a sweep | 1 thread | 2 threads |",
        "|---|---|---|---|",
    ]
    for sensor in SENSORS.values():
        rates = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            scene = build_scene(3, 1000 / sensor.rate_hz / 10)
            sweeps = record(scene, sensor, 1000, seed=0)
            points = len(next(sweeps).points)
            clock = time.process_time if threads == 1 else time.perf_counter
            begin, wall, count = clock(), time.perf_counter(), 0
            while time.perf_counter() - wall < seconds / 2:
                next(sweeps)
                count += 1
            rates.append(count / (clock() - begin))
        lines.append(f"| {sensor.name} | {points:,} | {rates[0]:.1f} | {rates[1]:.1f} |")
    return "\n".join(lines) + "\n"


def loader_rates(nuscenes: Path, frames: int = 96) -> str:
    """Frames a second of the whole loader: worker processes, packed batches of 4."""
    lines = [
        "### Loader, frames a second (wall time, batches of 4)",
        "",
        "| samples | 0 workers | 1 worker | 2 workers |",
    ]
    lines.append("|---|---|---|---|")
    for name, options in {
        "1 sweep": {"sweeps": 1},
        "2 sweeps": {"sweeps": 2},
        "10 sweeps": {"sweeps": 10},
        "10 sweeps, augmented": {"sweeps": 10, "transforms": AUGMENT},
    }.items():
        data = NuScenes(nuscenes, "mini_train", **options)
        order = list(itertools.islice(itertools.cycle(range(len(data))), frames))
        cells = []
        for workers in (0, 1, 2):
            loader = DataLoader(data, 4, sampler=order, num_workers=workers, collate_fn=collate_packed)
            batches = iter(loader)
            next(batches)  # the processes are up
            begin = time.perf_counter()
            count = sum(len(batch["index"]) for batch in batches)
            cells.append(f"{count / (time.perf_counter() - begin):.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        places = simulated(Path(folder))
        run(TITLE, list(cases(*places)))
        print(simulator_rates(), flush=True)
        print(loader_rates(places[0]), flush=True)
