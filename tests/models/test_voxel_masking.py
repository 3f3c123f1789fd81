"""Masks of voxels: rates and exact counts, seeds, empty cells."""

from __future__ import annotations

import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.masking import VoxelMasking
from mae3d.models.masking.voxels import nth_free
from mae3d.structures import VoxelGrid, Voxels


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def voxels_of(counts: list[int], grid: VoxelGrid | None = None, seed: int = 0) -> Voxels:
    grid = grid or VoxelGrid((0, 0, 0, 30, 20, 2), (1, 1, 1))
    keys = [
        cloud * grid.num_cells + torch.randperm(grid.num_cells, generator=seeded(seed + cloud))[:count].sort().values
        for cloud, count in enumerate(counts)
    ]
    return Voxels(grid.coordinates(torch.cat(keys)), torch.tensor([0, *counts]).cumsum(0), grid)


def test_bernoulli_hides_each_voxel_with_the_probability():
    voxels, masking = voxels_of([900, 300]), VoxelMasking(0.7)
    hidden = torch.stack([masking(voxels, seeded(seed)).to_bool() for seed in range(200)]).float()
    assert abs(hidden.mean().item() - 0.7) < 0.005
    assert hidden.mean(0).min() > 0.5
    assert len(set(hidden.sum(1).tolist())) > 20


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.7])
def test_exact_counts_per_sample(ratio):
    counts = [101, 0, 7, 250]
    voxels = voxels_of(counts)
    mask = VoxelMasking(ratio, "exact")(voxels, seeded(0))
    hidden = mask.to_bool().split(counts)
    assert [int(row.sum()) for row in hidden] == [int(ratio * count) for count in counts]


def test_exact_masks_are_uniform():
    voxels, masking = voxels_of([5, 10]), VoxelMasking(0.4, "exact")
    hidden = torch.stack([masking(voxels, seeded(seed)).to_bool() for seed in range(1000)]).float().mean(0)
    torch.testing.assert_close(hidden, torch.full((15,), 0.4), rtol=0, atol=0.07)


@pytest.mark.parametrize("count", ["bernoulli", "exact"])
def test_seeds_replay_masks(count):
    voxels, masking = voxels_of([60, 80]), VoxelMasking(0.6, count, empty_ratio=0.1)
    first, again, other = (masking(voxels, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.masked, again.masked)
    assert torch.equal(first.empty, again.empty)
    assert not torch.equal(first.to_bool(), other.to_bool())


def test_empty_cells_are_free_distinct_and_counted():
    counts = [99, 0, 640, 1150]
    voxels = voxels_of(counts)
    empty = VoxelMasking(0.7, empty_ratio=0.1)(voxels, seeded(0)).empty
    keys = voxels.grid.keys(empty)
    assert not torch.isin(keys, voxels.grid.keys(voxels.coordinates)).any()
    assert len(keys.unique()) == len(keys)
    assert torch.bincount(empty[:, 0], minlength=4).tolist() == [9, 0, 64, 50]  # 1200 cells hold 50 free ones
    assert torch.equal(voxels.grid.coordinates(keys), empty)


def test_empty_cells_are_uniform():
    grid = VoxelGrid((0, 0, 0, 4, 3, 1), (1, 1, 1))
    voxels = voxels_of([8], grid)
    masking = VoxelMasking(0.5, empty_ratio=0.25)
    keys = torch.cat([grid.keys(masking(voxels, seeded(seed)).empty) for seed in range(2000)])
    found = torch.bincount(keys, minlength=12)
    assert sorted(found.tolist())[:8] == [0] * 8
    assert (found[found > 0] - 1000).abs().max() < 100


def test_nth_free_number_by_counting():
    occupied = torch.tensor([0, 1, 4, 7, 8, 9])
    free = torch.tensor([number for number in range(15) if number not in occupied.tolist()])
    assert torch.equal(nth_free(occupied, torch.arange(len(free))), free)


def test_impossible_options_are_named():
    with pytest.raises(ConfigError, match="count"):
        VoxelMasking(0.5, "some")
    with pytest.raises(ConfigError, match="empty_ratio"):
        VoxelMasking(0.5, empty_ratio=-0.1)
