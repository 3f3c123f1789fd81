"""knn and ball_query beside CPU peers, and how knn's cost grows with the cloud."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness import Case, measure, mmcv_ops, optional, run
from mae3d.ops import ball_query, knn

TITLE = "k nearest neighbours and ball query"
SIZES = {  # name -> clouds, points, queries of each, neighbours, radius
    "b32_1k_64": (32, 1024, 64, 32, 0.2),
    "b32_8k_512": (32, 8192, 512, 32, 0.1),
    "b1_8k_2048": (1, 8192, 2048, 32, 0.1),
    "lidar_16k": (1, 120_000, 16_384, 32, 0.8),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def surfaces(batch: int, points: int) -> Tensor:
    """Points on spheres of radius 0.3 to 1: [B, N, 3]."""
    g = np.random.default_rng(0)
    v = g.normal(size=(batch, points, 3))
    v *= g.uniform(0.3, 1.0, size=(batch, 1, 1)) / np.linalg.norm(v, axis=-1, keepdims=True)
    return torch.from_numpy(v.astype(np.float32))


def sweep(points: int) -> Tensor:
    """One revolution of a 64-beam sensor over ground and walls with range noise: [1, N, 3], metres."""
    g = np.random.default_rng(0)
    elevation = np.deg2rad(np.linspace(-24.8, 2.0, 64))[g.integers(0, 64, points)]
    azimuth = g.uniform(-np.pi, np.pi, points)
    ground = np.where(elevation < -0.01, 1.8 / np.tan(np.maximum(-elevation, 1e-3)), 1e9)
    wall = 8 + 60 * np.sqrt(np.abs(np.sin(7 * azimuth) * np.cos(3 * azimuth + 1)))
    reach = np.minimum(np.minimum(ground, wall), 75) + g.normal(0, 0.02, points)
    z = np.clip(reach * np.tan(elevation) + g.normal(0, 0.02, points), -1.9, 2.9)
    cloud = np.stack((reach * np.cos(azimuth), reach * np.sin(azimuth), z), axis=-1)
    return torch.from_numpy(cloud.astype(np.float32))[None]


def inputs(size: str) -> tuple[Tensor, Tensor, int, float]:
    batch, points, queries, k, radius = SIZES[size]
    cloud = sweep(points) if size.startswith("lidar") else surfaces(batch, points)
    cloud = cloud.to(DEVICE)
    return cloud, cloud[:, :: points // queries][:, :queries].contiguous(), k, radius


def torch_knn(points: Tensor, queries: Tensor, k: int) -> list[Tensor]:
    return [torch.cdist(part, points).topk(k, largest=False).indices for part in queries.split(256, 1)]


def torch_ball(points: Tensor, queries: Tensor, k: int, radius: float) -> list[Tensor]:
    number = torch.arange(points.shape[1], device=points.device)
    far = points.shape[1]
    parts = (torch.where(torch.cdist(part, points) < radius, number, far) for part in queries.split(256, 1))
    return [part.topk(k, largest=False, sorted=True).values for part in parts]


def cases() -> list[Case]:
    spatial, why = optional(lambda: __import__("scipy.spatial", fromlist=["cKDTree"]))
    if DEVICE == "cuda":
        spatial, why = None, "a CPU library"
    pytorch3d, why_pytorch3d = optional(lambda: __import__("pytorch3d.ops", fromlist=["knn_points"]))
    result = []
    for size in SIZES:
        p, q, k, radius = inputs(size)
        near = Case(f"knn {size}", lambda p=p, q=q, k=k: knn(p, q, k))
        near.operations = 8.0 * len(p) * p.shape[1] * q.shape[1]  # of brute force
        ball = Case(f"ball first {size}", lambda p=p, q=q, k=k, r=radius: ball_query(p, q, r, k))
        best = Case(f"ball nearest {size}", lambda p=p, q=q, k=k, r=radius: ball_query(p, q, r, k, mode="nearest"))
        if not size.startswith("lidar"):
            near.peers["torch cdist"] = lambda p=p, q=q, k=k: torch_knn(p, q, k)
            ball.peers["torch cdist"] = lambda p=p, q=q, k=k, r=radius: torch_ball(p, q, k, r)
        if spatial is None:
            near.absent["scipy"] = best.absent["scipy"] = why
        else:
            pairs = list(zip(p.cpu().numpy(), q.cpu().numpy()))

            def search(bound: float, pairs: list = pairs, k: int = k) -> list:
                workers = torch.get_num_threads()
                return [spatial.cKDTree(a).query(b, k, distance_upper_bound=bound, workers=workers) for a, b in pairs]

            near.peers["scipy"] = lambda search=search: search(math.inf)
            best.peers["scipy"] = lambda search=search, r=radius: search(r)
        mmcv = mmcv_ops(near.absent)
        if mmcv is None:
            ball.absent["mmcv"] = near.absent["mmcv"]
        elif DEVICE == "cuda":
            near.peers["mmcv"] = lambda p=p, q=q, k=k, mmcv=mmcv: mmcv.knn(k, p, q)
            ball.peers["mmcv"] = lambda p=p, q=q, k=k, r=radius, mmcv=mmcv: mmcv.ball_query(0, r, k, p, q)
        if pytorch3d is None:
            near.absent["pytorch3d"] = ball.absent["pytorch3d"] = why_pytorch3d
        else:
            near.peers["pytorch3d"] = lambda p=p, q=q, k=k: pytorch3d.knn_points(q, p, K=k)
            ball.peers["pytorch3d"] = lambda p=p, q=q, k=k, r=radius: pytorch3d.ball_query(q, p, K=k, radius=r)
        result += [near, ball, best]
    return result


def growth(counts: tuple[int, ...] = (10_000, 30_000, 100_000, 300_000, 1_000_000)) -> str:
    """Every point asks for its 16 nearest: milliseconds and nanoseconds per point on one thread."""
    lines = ["| points | sweep ms | ns/point | uniform ms | ns/point |", "|---|---|---|---|---|"]
    for count in counts:
        cells = []
        for cloud in (sweep(count), torch.rand(1, count, 3, generator=torch.Generator().manual_seed(0))):
            cloud = cloud.to(DEVICE)
            time = measure(lambda cloud=cloud: knn(cloud, k=16), 1, max_calls=3)
            cells += [f"{time:.1f}", f"{time * 1e6 / count:.0f}"]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    text = "\n".join(lines)
    print(text)
    return text


if __name__ == "__main__":
    run(TITLE, cases())
    growth()
