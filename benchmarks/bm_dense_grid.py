"""Average voxelisation and trilinear reading beside plain torch: DiT-3D's case, 16 clouds of 2048 points, R = 32."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, run
from mae3d.ops import grid_coordinates, trilinear_devoxelize, voxel_average
from mae3d.ops.reference import dense_grid as reference

TITLE = "Dense grid of PVCNN (16 clouds of 2048 points, resolution 32, forward + backward)"
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def step(function, tensor: Tensor, *args) -> Call:
    tensor = tensor.clone().requires_grad_()

    def call() -> Tensor:
        tensor.grad = None
        function(tensor, *args).square().sum().backward()
        return tensor.grad

    return call


def cases() -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(16, 2048, 3, generator=generator).to(DEVICE)
    u = grid_coordinates(points, 32)
    cells = u.round().long()
    listed = []
    for channels in (3, 64):
        features = torch.randn(16, 2048, channels, generator=generator).to(DEVICE)
        grid = torch.randn(16, channels, 32, 32, 32, generator=generator).to(DEVICE)
        listed.append(
            Case(
                f"voxel_average, {channels} channels",
                step(lambda f: voxel_average(f, cells, 32).grid, features),
                {"torch scatter_add": step(lambda f: reference.voxel_average(f, cells, 32)[0], features)},
            )
        )
        listed.append(
            Case(
                f"trilinear_devoxelize, {channels} channels",
                step(trilinear_devoxelize, grid, u),
                {
                    "torch gather": step(reference.trilinear_devoxelize, grid, u),
                    "torch grid_sample": step(sample, grid, u),
                },
            )
        )
    return listed


def sample(grid: Tensor, u: Tensor) -> Tensor:
    """torch's own trilinear reading; its axes are z, y, x in [-1, 1]."""
    place = (u / (grid.shape[2] - 1) * 2 - 1).flip(-1)[:, :, None, None]
    return torch.nn.functional.grid_sample(grid, place, align_corners=True)[..., 0, 0].mT


if __name__ == "__main__":
    run(TITLE, cases())
