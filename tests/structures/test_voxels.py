"""Voxel grids, voxels and masks of voxels against plain restatements."""

from __future__ import annotations

import pytest
import torch

from mae3d.errors import OperatorInputError
from mae3d.structures import VoxelGrid, VoxelMask, Voxels

GRID = VoxelGrid((-4, -3, -1, 4, 3, 1), (0.5, 0.5, 1.0))


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(60, 4, generator=generator) * torch.tensor([9.0, 7.0, 2.4, 1.0])
    return points - torch.tensor([4.5, 3.5, 1.2, 0.0]), torch.tensor([0, 40, 40, 60])


def test_grid_counts_cells_and_rejects_impossible_ones():
    assert GRID.grid_size == (16, 12, 2)
    assert GRID.num_cells == 384
    with pytest.raises(OperatorInputError, match="VoxelGrid"):
        VoxelGrid((0, 0, 0, 1, 1, -1), (0.5, 0.5, 0.5))


def test_keys_and_coordinates_are_inverse_and_ascending():
    points, offsets = batch()
    voxels = Voxels.from_points(points, offsets, GRID)
    keys = GRID.keys(voxels.coordinates)
    assert (keys.diff() > 0).all()
    torch.testing.assert_close(GRID.coordinates(keys), voxels.coordinates)


def test_every_point_lies_half_a_cell_from_its_centre():
    points, offsets = batch()
    voxels = Voxels.from_points(points, offsets, GRID)
    inside = voxels.point_to_voxel >= 0
    assert 0 < inside.sum() < len(points)
    gap = (points[inside, :3] - voxels.centers[voxels.point_to_voxel[inside]]).abs()
    assert (gap <= torch.tensor(GRID.voxel_size) / 2 + 1e-6).all()
    outside = ~inside
    low, high = torch.tensor(GRID.point_range).chunk(2)
    assert ((points[outside, :3] < low) | (points[outside, :3] >= high)).any(dim=1).all()


def test_select_keeps_batch_with_empty_clouds():
    points, offsets = batch()
    voxels = Voxels.from_points(points, offsets, GRID)
    voxels = voxels.replace_features(torch.arange(len(voxels)).float().unsqueeze(1))
    rows = torch.arange(0, int(voxels.offsets[1]), 3)
    chosen = voxels.select(rows)
    assert chosen.batch_size == 3
    assert chosen.offsets.tolist() == [0, len(rows), len(rows), len(rows)]
    torch.testing.assert_close(chosen.features.squeeze(1), rows.float())
    torch.testing.assert_close(chosen.counts, voxels.counts[rows])


def test_bev_holds_each_voxel_once():
    points, offsets = batch()
    voxels = Voxels.from_points(points, offsets, GRID)
    features = torch.randn(len(voxels), 5, requires_grad=True)
    bev = voxels.replace_features(features).to_bev()
    assert bev.shape == (3, 10, 12, 16)
    for row, (cloud, z, y, x) in enumerate(voxels.coordinates.tolist()):
        torch.testing.assert_close(bev[cloud, 5 * z : 5 * z + 5, y, x], features[row])
    assert int((bev != 0).sum()) == features.numel()
    bev.sum().backward()
    torch.testing.assert_close(features.grad, torch.ones_like(features))


def test_bev_without_features_is_an_error():
    with pytest.raises(ValueError, match="needs features"):
        Voxels.from_points(*batch(), GRID).to_bev()


def test_mask_round_trip():
    hidden = torch.tensor([True, False, False, True, True, False])
    mask = VoxelMask.from_bool(hidden)
    assert mask.visible.tolist() == [1, 2, 5]
    assert mask.masked.tolist() == [0, 3, 4]
    values = torch.arange(12.0).view(6, 2)
    torch.testing.assert_close(mask.restore(mask.gather_visible(values), mask.gather_masked(values)), values)
    assert torch.equal(mask.to_bool(), hidden)
    assert VoxelMask.none(4).num_masked == 0


def test_mask_rejects_other_types():
    with pytest.raises(ValueError, match=r"VoxelMask\.visible must be int64 \[count\]"):
        VoxelMask(torch.zeros(3), torch.zeros(3, dtype=torch.int64))
