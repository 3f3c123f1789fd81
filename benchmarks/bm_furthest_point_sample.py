"""Farthest point sampling beside its peers: python -m benchmarks.bm_furthest_point_sample."""

from __future__ import annotations

import importlib
import math

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Call, Case, mmcv_ops, optional, run
from mae3d.ops import furthest_point_sample

TITLE = "Farthest point sampling"
SIZES = {  # name -> batch, points, samples
    "32 x 1024 -> 64": (32, 1024, 64),
    "32 x 8192 -> 512": (32, 8192, 512),
    "1 x 8192 -> 2048": (1, 8192, 2048),
    "sweep 120 000 -> 16 384": (1, 120_000, 16_384),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def objects(batch: int, points: int) -> np.ndarray:
    """Points on random ellipsoids inside the unit ball, [B, N, 3] float32."""
    g = np.random.default_rng(0)
    direction = g.normal(size=(batch, points, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return (direction * g.uniform(0.3, 1.0, size=(batch, 1, 3))).astype(np.float32)


def sweep(points: int) -> np.ndarray:
    """One synthetic 64-beam lidar sweep, ground and walls with range noise, [1, N, 3] float32, metres."""
    g = np.random.default_rng(0)
    elevation = np.deg2rad(np.linspace(-24.8, 2.0, 64))[g.integers(0, 64, points)]
    azimuth = g.uniform(-np.pi, np.pi, points)
    ground = np.where(elevation < -0.01, 1.8 / np.tan(np.maximum(-elevation, 1e-3)), 1e9)
    wall = 8 + 60 * np.abs(np.sin(7 * azimuth) * np.cos(3 * azimuth + 1)) ** 0.5
    reach = np.minimum(np.minimum(ground, wall), 75.0) + g.normal(0, 0.02, points)
    z = np.clip(reach * np.tan(elevation) + g.normal(0, 0.02, points), -1.9, 2.9)
    return np.stack([reach * np.cos(azimuth), reach * np.sin(azimuth), z], axis=1).astype(np.float32)[None]


def torch_loop(points: Tensor, samples: int) -> Tensor:
    """What most repositories fall back to: one pass of tensor operations per sample."""
    batch, count, _ = points.shape
    rows = torch.arange(batch, device=points.device)
    picks = torch.empty(batch, samples, dtype=torch.int64, device=points.device)
    nearest = torch.full((batch, count), math.inf, device=points.device)
    current = torch.zeros(batch, dtype=torch.int64, device=points.device)
    for s in range(samples):
        picks[:, s] = current
        torch.minimum(nearest, (points - points[rows, current, None]).square_().sum(-1), out=nearest)
        current = nearest.argmax(1)
    return picks


def peers(points: Tensor, samples: int) -> tuple[dict[str, Call], dict[str, str]]:
    """Calls of the peers that can be imported, and why the others are missing."""
    calls: dict[str, Call] = {}
    absent: dict[str, str] = {}
    batch, count, _ = points.shape
    if batch * count * samples < 5e8 or DEVICE == "cuda":
        calls["torch loop"] = lambda: torch_loop(points, samples)
    modules = {}
    for name in ("fpsample", "torch_cluster", "pytorch3d.ops"):
        modules[name], why = optional(lambda name=name: importlib.import_module(name))
        if why:
            absent[name] = why
    if modules["fpsample"] and DEVICE == "cpu":
        height = 3 if count <= 1024 else 5 if count <= 8192 else 7
        arrays = points.numpy()
        sample = modules["fpsample"].bucket_fps_kdline_sampling
        calls["fpsample kdline"] = lambda: [sample(cloud, samples, height, start_idx=0) for cloud in arrays]
    mmcv = mmcv_ops(absent)
    if mmcv and DEVICE == "cuda":
        calls["mmcv"] = lambda: mmcv.furthest_point_sample(points, samples)
    if modules["torch_cluster"]:
        rows = points.reshape(-1, 3)
        offsets = torch.arange(batch + 1, device=points.device) * count
        ratio = torch.full((batch,), samples / count, device=points.device)
        calls["torch-cluster"] = lambda: torch.ops.torch_cluster.fps(rows, offsets, ratio, False)
    if modules["pytorch3d.ops"]:
        calls["pytorch3d"] = lambda: modules["pytorch3d.ops"].sample_farthest_points(points, K=samples)
    return calls, absent


def cases() -> list[Case]:
    """One case per size."""
    result = []
    for name, (batch, count, samples) in SIZES.items():
        array = sweep(count) if name.startswith("sweep") else objects(batch, count)
        points = torch.from_numpy(array).to(DEVICE)
        calls, absent = peers(points, samples)
        brute_force = 8.0 * batch * count * samples
        ours = lambda p=points, s=samples: furthest_point_sample(p, s)  # noqa: E731
        result.append(Case(name, ours, calls, absent, operations=brute_force))
    return result


if __name__ == "__main__":
    run(TITLE, cases())
