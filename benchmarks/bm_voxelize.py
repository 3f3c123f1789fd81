"""Voxelisation beside its peers: dynamic (mean per voxel and inverse map) and hard, and its growth with the points."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.bm_sparse_conv import sweep
from benchmarks.harness import Call, Case, growth, mmcv_ops, optional, run
from mae3d.ops import scatter_reduce, voxelize, voxelize_hard

TITLE = "Voxelisation (0.1 x 0.1 x 0.15 m in 150.4 x 150.4 x 6 m)"
RANGE = (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)
SIZE = (0.1, 0.1, 0.15)
SHAPE = tuple(round((RANGE[a + 3] - RANGE[a]) / SIZE[a]) for a in range(3))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def cloud(points: int) -> Tensor:
    """One sweep with an intensity: float32 [N, 4]."""
    intensity = np.random.default_rng(1).uniform(size=(points, 1)).astype(np.float32)
    return torch.from_numpy(np.concatenate((sweep(points), intensity), axis=1)).to(DEVICE)


def ours(x: Tensor, order: str) -> Call:
    def call() -> Tensor:
        voxels = voxelize(x, SIZE, RANGE, order=order)
        return scatter_reduce(x, voxels.point_to_voxel, len(voxels.counts), "mean")

    return call


def torch_unique(x: Tensor) -> Call:
    """Packed key, torch.unique, index_add."""
    low, size = x.new_tensor(RANGE[:3]), x.new_tensor(SIZE)
    shape = torch.tensor(SHAPE, device=x.device)

    def call() -> Tensor:
        cell = ((x[:, :3] - low) / size).floor_().long()
        kept = ((cell >= 0) & (cell < shape)).all(1)
        cell, rows = cell[kept], x[kept]
        key = (cell[:, 2] * SHAPE[1] + cell[:, 1]) * SHAPE[0] + cell[:, 0]
        unique, inverse, counts = key.unique(return_inverse=True, return_counts=True)
        return rows.new_zeros(len(unique), 4).index_add_(0, inverse, rows) / counts[:, None]

    return call


def dynamic_peers(x: Tensor) -> tuple[dict[str, Call], dict[str, str]]:
    peers, absent = {"torch.unique": torch_unique(x)}, {}
    cluster, why = optional(lambda: __import__("torch_cluster"))
    scatter, why_scatter = optional(lambda: __import__("torch_scatter"))
    if cluster and scatter:
        low, high, size = x.new_tensor(RANGE[:3]), x.new_tensor(RANGE[3:]), x.new_tensor(SIZE)

        def call() -> Tensor:
            key = cluster.grid_cluster(x[:, :3].contiguous(), size, low, high)
            unique, inverse = key.unique(return_inverse=True)
            return scatter.scatter_mean(x, inverse, 0, dim_size=len(unique))

        peers["torch_cluster"] = call
    else:
        absent["torch_cluster"] = why or why_scatter
    mmcv = mmcv_ops(absent)
    if mmcv and DEVICE == "cuda":

        def dynamic_scatter() -> tuple[Tensor, Tensor]:
            return mmcv.dynamic_scatter(x, mmcv.voxelization(x, SIZE, RANGE, -1, -1), "mean")

        peers["mmcv"] = dynamic_scatter
    return peers, absent


def hard_torch(x: Tensor) -> Call:
    """First-come voxels of at most 10 points by a stable sort."""
    low, size = x.new_tensor(RANGE[:3]), x.new_tensor(SIZE)
    shape = torch.tensor(SHAPE, device=x.device)

    def call() -> Tensor:
        cell = ((x[:, :3] - low) / size).floor_().long()
        rows = x[((cell >= 0) & (cell < shape)).all(1)]
        cell = ((rows[:, :3] - low) / size).floor_().long()
        key, order = ((cell[:, 2] * SHAPE[1] + cell[:, 1]) * SHAPE[0] + cell[:, 0]).sort(stable=True)
        _, inverse, counts = key.unique_consecutive(return_inverse=True, return_counts=True)
        rank = torch.arange(len(key), device=x.device) - (counts.cumsum(0) - counts)[inverse]
        kept = rank < 10
        out = x.new_zeros(len(counts), 10, 4)
        out[inverse[kept], rank[kept]] = rows[order[kept]]
        return out

    return call


def hard_peers(x: Tensor) -> tuple[dict[str, Call], dict[str, str]]:
    peers, absent = {"torch sort": hard_torch(x)}, {}
    spconv, why = optional(lambda: __import__("spconv.pytorch.utils", fromlist=["PointToVoxel"]))
    if spconv:
        voxelizer = spconv.PointToVoxel(list(SIZE), list(RANGE), 4, 160000, 10, device=x.device)
        peers["spconv"] = lambda: voxelizer(x)
    else:
        absent["spconv"] = why
    mmcv = mmcv_ops(absent)
    if mmcv and DEVICE == "cuda":
        peers["mmcv"] = lambda: mmcv.voxelization(x, SIZE, RANGE, 10, 160_000, True)
        peers["mmcv, order at random"] = lambda: mmcv.voxelization(x, SIZE, RANGE, 10, 160_000, False)
    return peers, absent


def cases() -> list[Case]:
    listed = []
    for points in (120_000, 300_000):
        x = cloud(points)
        for order in ("sorted", "first"):
            case = Case(f"dynamic mean, {order}, {points}", ours(x, order), *dynamic_peers(x))
            case.bytes_moved = 2.0 * x.nbytes + 8.0 * points  # points in, map and (at most as many) means out
            listed.append(case)
        hard = lambda x=x: voxelize_hard(x, SIZE, RANGE, max_points_per_voxel=10, max_voxels=160_000)  # noqa: E731
        listed.append(Case(f"hard 10 x 160000, {points}", hard, *hard_peers(x)))
    return listed


def grow(order: str):
    def make(points: int) -> Call:
        x = cloud(points)
        return lambda: voxelize(x, SIZE, RANGE, order=order)

    return make


def grow_hard(points: int) -> Call:
    x = cloud(points)
    return lambda: voxelize_hard(x, SIZE, RANGE, max_points_per_voxel=10, max_voxels=10**6)


if __name__ == "__main__":
    run(TITLE, cases())
    growth("Growth with the points", {"sorted": grow("sorted"), "first-come": grow("first"), "hard": grow_hard})
