"""Chamfer distance and earth mover's distance beside their peers.

python benchmarks/bm_chamfer.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, optional, run
from mae3d.ops import chamfer_distance, earth_mover_distance

TITLE = "Chamfer distance (forward + backward; *_forward peers forward only) and earth mover's distance"
SIZES = {"g1216x32": (1216, 32), "b32x2048": (32, 2048)}


def ellipsoids(batch: int, points: int, seed: int) -> Tensor:
    """Points on random ellipsoid surfaces inside the unit ball [B, N, 3]."""
    draw = np.random.default_rng(seed)
    direction = draw.normal(size=(batch, points, 3))
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return torch.from_numpy((direction * draw.uniform(0.3, 1.0, size=(batch, 1, 3))).astype("float32"))


def ours(a: Tensor, b: Tensor) -> Call:
    def call() -> Tensor | None:
        a.grad = None
        result = chamfer_distance(a, b)
        (result.a_to_b.mean() + result.b_to_a.mean()).backward()
        return a.grad

    return call


def matrix_argmin(a: Tensor, b: Tensor) -> Call:
    """Plain torch: distance matrix without gradient, arg-min, then gather with gradient."""

    def nearest(x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            index = torch.baddbmm(y.square().sum(-1)[:, None], x, y.mT, alpha=-2).argmin(2)
        return y.gather(1, index[..., None].expand(-1, -1, 3))

    def call() -> Tensor | None:
        a.grad = None
        total = torch.zeros((), device=a.device)
        for x, y in zip(a.split(64), b.split(64)):
            total = total + (x - nearest(x, y)).square().sum() + (y - nearest(y, x)).square().sum()
        total.backward()
        return a.grad

    return call


def scipy_forward(a: Tensor, b: Tensor) -> Call:
    from scipy.spatial import cKDTree

    x, y = a.detach().cpu().numpy(), b.cpu().numpy()

    def call() -> list[float]:
        workers = torch.get_num_threads()
        return [
            float((cKDTree(q).query(p, workers=workers)[0] ** 2).mean())
            + float((cKDTree(p).query(q, workers=workers)[0] ** 2).mean())
            for p, q in zip(x, y)
        ]

    return call


def open3d_forward(open3d: object, a: Tensor, b: Tensor) -> Call:
    def clouds(points: Tensor) -> list[object]:
        return [
            open3d.geometry.PointCloud(open3d.utility.Vector3dVector(p))
            for p in points.detach().cpu().numpy().astype("float64")
        ]

    x, y = clouds(a), clouds(b)
    return lambda: [
        (np.square(p.compute_point_cloud_distance(q)).mean(), np.square(q.compute_point_cloud_distance(p)).mean())
        for p, q in zip(x, y)
    ]


def pytorch3d_call(loss: object, a: Tensor, b: Tensor) -> Call:
    def call() -> Tensor | None:
        a.grad = None
        loss.chamfer_distance(a, b)[0].backward()
        return a.grad

    return call


def chamfer_case(name: str) -> Case:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = (ellipsoids(*SIZES[name], seed).to(device) for seed in (0, 1))
    a.requires_grad_()
    case = Case(name, ours(a, b), {"torch_matrix_argmin": matrix_argmin(a, b)})
    case.operations = 8.0 * a.shape[0] * a.shape[1] * b.shape[1]  # of brute force, forward
    if device == "cpu":
        case.peers["scipy_forward"] = scipy_forward(a, b)
    open3d, why = optional(lambda: __import__("open3d"))
    if open3d is None:
        case.absent["open3d_forward"] = why
    else:
        case.peers["open3d_forward"] = open3d_forward(open3d, a, b)
    loss, why = optional(lambda: __import__("pytorch3d.loss", fromlist=["loss"]))
    if loss is None:
        case.absent["pytorch3d"] = why
    else:
        case.peers["pytorch3d"] = pytorch3d_call(loss, a, b)
    return case


def exact_case(points: int) -> Case:
    from scipy.optimize import linear_sum_assignment

    a, b = ellipsoids(2, points, 0), ellipsoids(2, points, 1)
    return Case(
        f"exact_b2x{points}",
        lambda: earth_mover_distance(a, b, method="exact"),
        {"scipy": lambda: [linear_sum_assignment(matrix.numpy()) for matrix in torch.cdist(a.double(), b.double())]},
    )


def torch_match(a: Tensor, b: Tensor) -> Tensor:
    """Plain torch: the published rounds on a stored kernel matrix."""
    squared = torch.cdist(a, b).square()
    left_a, left_b = torch.ones_like(a[:, :, :1]), torch.ones_like(b[:, None, :, 0])
    match = torch.zeros_like(squared)
    for level in (*(-(4.0**j) for j in range(7, -2, -1)), 0.0):
        kernel = (level * squared).exp_()
        ratio_a = left_a / (kernel @ left_b.mT + 1e-9)
        asked = left_b * (ratio_a.mT @ kernel)
        ratio_b = left_b * (left_b / (asked + 1e-9)).clamp(max=1)
        moved = kernel.mul_(ratio_a).mul_(ratio_b)
        left_a, left_b = (left_a - moved.sum(2, keepdim=True)).clamp(min=0), (left_b - asked).clamp(min=0)
        match += moved
    return (match * squared.sqrt()).sum((1, 2)) / a.shape[1]


def approximate_case(batch: int, points: int) -> Case:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    a, b = ellipsoids(batch, points, 0).to(device), ellipsoids(batch, points, 1).to(device)
    return Case(
        f"approximate_b{batch}x{points}",
        lambda: earth_mover_distance(a, b),
        {"torch": lambda: torch_match(a, b)},
    )


def cases() -> list[Case]:
    return [*map(chamfer_case, SIZES), exact_case(512), exact_case(2048), approximate_case(4, 2048)]


if __name__ == "__main__":
    run(TITLE, cases())
