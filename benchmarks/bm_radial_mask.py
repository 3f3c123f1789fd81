"""Radial masking beside plain torch, one and two stages, and its growth with the voxels."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmarks.harness import Call, Case, growth, run
from mae3d.ops import radial_mask
from mae3d.ops.reference import radial_mask as reference

TITLE = "Radial masking (1-degree sectors, ratio 0.8, 4 clouds)"
SIZE, RANGE, CLOUDS = (0.1, 0.1, 0.15), (-75.2, -75.2, -2.0, 75.2, 75.2, 4.0), 4
BANDS = (20.0, 40.0)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def voxels(count: int) -> Tensor:
    """(cloud, z, y, x) of `count` random voxels, sorted by cloud: int64 [V, 4]."""
    generator = torch.Generator().manual_seed(0)
    columns = [torch.randint(0, n, (count,), generator=generator) for n in (40, 1504, 1504)]
    return torch.stack((torch.arange(count) * CLOUDS // count, *columns), dim=1).to(DEVICE)


def ours(two_stages: bool):
    def make(count: int) -> Call:
        coordinates = voxels(count)
        options = {"voxel_size": SIZE, "point_range": RANGE, "range_bands": BANDS if two_stages else None}
        return lambda: radial_mask(coordinates, 0.8, num_clouds=CLOUDS, seed=0, **options)

    return make


def plain_torch(two_stages: bool, count: int) -> Call:
    coordinates = voxels(count)
    origin = [RANGE[0] + SIZE[0] / 2, RANGE[1] + SIZE[1] / 2]
    bands = list(BANDS) if two_stages else [-1.0, -1.0]
    sectors = torch.rand(CLOUDS, 360, 1, device=DEVICE) < 0.2
    share = torch.tensor([0.2, 0.4, 0.6] if two_stages else [1.0] * 3, device=DEVICE)

    def call() -> tuple[Tensor, Tensor]:
        groups, counts = reference.radial_groups(coordinates, list(SIZE[:2]), origin, False, 1.0, bands, CLOUDS, False)
        quota = (counts.view(CLOUDS, 360, 3) * share * sectors).long().flatten()
        scores = torch.rand(len(groups) if two_stages else 0, device=DEVICE)
        return reference.radial_select(groups, quota, scores)

    return call


def cases() -> list[Case]:
    return [
        Case(f"{name}, {count} voxels", ours(two)(count), {"torch": plain_torch(two, count)})
        for two, name in ((False, "one stage"), (True, "two stages"))
        for count in (60_000, 240_000)
    ]


if __name__ == "__main__":
    run(TITLE, cases())
    growth("Growth with the voxels", {"one stage": ours(False), "two stages": ours(True)})
