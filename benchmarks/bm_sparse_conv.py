"""Sparse convolution beside spconv and plain torch: rule book, forward and backward on lidar-like voxels."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, optional, run
from mae3d.ops.sparse_conv import build_rulebook, sparse_conv

TITLE = "Sparse convolution, kernel 3 (rule book + forward + backward)"
GRID = (41, 1504, 1504)  # z, y, x
VOXEL = np.float32([0.1, 0.1, 0.15])
CORNER = np.float32([-75.2, -75.2, -2.0])
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def sweep(points: int, seed: int = 0) -> np.ndarray:
    """A 64-beam sensor 1.8 m above flat ground inside a wavy wall, range noise 2 cm: [N, 3] float32, metres."""
    random = np.random.default_rng(seed)
    beam = np.deg2rad(np.linspace(-24.8, 2.0, 64))[random.integers(0, 64, points)]
    azimuth = random.uniform(-np.pi, np.pi, points)
    to_ground = np.where(beam < -0.01, 1.8 / np.tan(np.maximum(-beam, 1e-3)), np.inf)
    to_wall = 8 + 60 * np.sqrt(np.abs(np.sin(7 * azimuth) * np.cos(3 * azimuth + 1)))
    reach = np.minimum(np.minimum(to_ground, to_wall), 75.0) + random.normal(0, 0.02, points)
    height = np.clip(reach * np.tan(beam) + random.normal(0, 0.02, points), -1.9, 2.9)
    return np.stack((reach * np.cos(azimuth), reach * np.sin(azimuth), height), axis=1).astype(np.float32)


def voxels(points: int, limit: int) -> Tensor:
    """Occupied cells [V, 4] int32 of one sweep, in random order."""
    cells = np.unique(((sweep(points) - CORNER) / VOXEL).astype(np.int32), axis=0)[:, ::-1]
    cells = cells[((cells >= 0) & (cells < GRID)).all(axis=1)]
    cells = cells[np.random.default_rng(2).permutation(len(cells))[:limit]]
    return torch.from_numpy(np.pad(cells, ((0, 0), (1, 0)))).contiguous().to(DEVICE)


def ours(cells: Tensor, channels: int, stride: int = 1) -> Call:
    features = torch.randn(len(cells), channels, device=DEVICE, requires_grad=True)
    weight = (torch.randn(channels, 3, 3, 3, channels, device=DEVICE) * 0.05).requires_grad_()

    def call() -> Tensor:
        features.grad = weight.grad = None
        book = build_rulebook(cells, GRID, 1, kernel_size=3, stride=stride, padding=1, submanifold=stride == 1)
        sparse_conv(features, weight, book).square().mean().backward()
        return features.grad

    return call


def plain_torch(cells: Tensor, channels: int) -> Call:
    """Sorted keys, one gather, product and index_add for each pair of opposite offsets."""
    features = torch.randn(len(cells), channels, device=DEVICE, requires_grad=True)
    weight = (torch.randn(27, channels, channels, device=DEVICE) * 0.05).requires_grad_()

    def call() -> Tensor:
        features.grad = weight.grad = None
        at = cells[:, 1:].long() + 1
        key = (at[:, 0] * (GRID[1] + 2) + at[:, 1]) * (GRID[2] + 2) + at[:, 2]
        known, order = key.sort()
        result = features @ weight[13]
        for k in range(13):
            step = ((k // 9 - 1) * (GRID[1] + 2) + k // 3 % 3 - 1) * (GRID[2] + 2) + k % 3 - 1
            found = torch.searchsorted(known, key + step).clamp_(max=len(known) - 1)
            here = (known[found] == key + step).nonzero().squeeze(1)
            there = order[found[here]]
            result = result.index_add(0, here, features[there] @ weight[k])
            result = result.index_add(0, there, features[here] @ weight[26 - k])
        result.square().mean().backward()
        return features.grad

    return call


def load_spconv() -> object:
    import spconv.pytorch as module
    import spconv.pytorch.ops

    if not torch.cuda.is_available():  # its backward asks for the CUDA stream even of a CPU tensor
        spconv.pytorch.ops.get_current_stream = lambda: 0
    return module


def with_spconv(module: object, cells: Tensor, channels: int, stride: int = 1) -> Call:
    features = torch.randn(len(cells), channels, device=DEVICE, requires_grad=True)
    kind = module.SubMConv3d if stride == 1 else module.SparseConv3d
    algorithm = module.ConvAlgo.Native if DEVICE == "cpu" else None
    conv = kind(channels, channels, 3, stride, 1, bias=False, indice_key="k", algo=algorithm).to(DEVICE)

    def call() -> Tensor:
        features.grad = conv.weight.grad = None
        conv(module.SparseConvTensor(features, cells, list(GRID), 1)).features.square().mean().backward()
        return features.grad

    return call


def cases() -> list[Case]:
    spconv, why = optional(load_spconv)
    absent = {} if spconv else {"spconv": why}

    def case(name: str, cells: Tensor, channels: int, stride: int) -> Case:
        peers: dict[str, Callable[[], object]] = {}
        if spconv:
            peers["spconv"] = with_spconv(spconv, cells, channels, stride)
        if stride == 1:
            peers["plain torch"] = plain_torch(cells, channels)
        book = build_rulebook(cells, GRID, 1, kernel_size=3, stride=stride, padding=1, submanifold=stride == 1)
        products = (
            3 * 2.0 * float((book.gather >= 0).sum()) * channels**2
        )  # forward, gradients of features and of weights
        title = f"{name} {len(cells) // 1000}k voxels, {channels} channels"
        return Case(title, ours(cells, channels, stride), peers, absent, operations=products)

    sixty = voxels(400_000, 60_000)
    large = voxels(1_200_000, 150_000)
    return [
        case("submanifold", sixty, 64, 1),
        case("submanifold", sixty, 16, 1),
        case("strided 2", sixty, 32, 2),
        case("submanifold", large, 32, 1),
    ]


if __name__ == "__main__":
    run(TITLE, cases())
