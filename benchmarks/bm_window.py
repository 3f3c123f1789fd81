"""Window partition and packed layout beside plain torch, and their growth with the voxels."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, growth, run
from mae3d.ops import window_attention_layout, window_partition, windows_per_cloud
from mae3d.ops.reference import window as reference

TITLE = "SST windows (8 x 8 of 468 x 468 pillars, both shifts, partition + layout)"
WINDOW, GRID, CLOUDS = (8, 8, 1), (468, 468, 1), 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def pillars(count: int) -> Tensor:
    """(cloud, z, y, x) of `count` random voxels, sorted by cloud: int64 [V, 4]."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(0, GRID[0], (count, 2), generator=generator)
    cloud = torch.arange(count) * CLOUDS // count
    return torch.stack((cloud, torch.zeros_like(cloud), cells[:, 0], cells[:, 1]), dim=1).to(DEVICE)


def ours(count: int) -> Call:
    coordinates, bound = pillars(count), CLOUDS * windows_per_cloud(WINDOW, GRID)

    def call() -> list:
        parts = [window_partition(coordinates, WINDOW, GRID, shifted=shifted) for shifted in (False, True)]
        return [window_attention_layout(part.windows, num_windows=bound) for part in parts]

    return call


def plain_torch(count: int) -> Call:
    coordinates = pillars(count)

    def call() -> list:
        parts = [reference.window_partition(coordinates, WINDOW, GRID, shifted)[0] for shifted in (False, True)]
        return [reference.window_attention_layout(windows, 0) for windows in parts]

    return call


def cases() -> list[Case]:
    sizes = (30_000, 120_000)
    moved = 2 * (32 + 8 + 24 + 8 + 8)  # bytes per voxel: coordinates in; window, place and order out; both shifts
    return [
        Case(f"{count} voxels", ours(count), {"torch": plain_torch(count)}, bytes_moved=moved * count)
        for count in sizes
    ]


if __name__ == "__main__":
    run(TITLE, cases())
    growth("Growth with the voxels", {"partition + layout, both shifts": ours})
