"""SST: window attention against dense attention with a same-window mask, positions, dropping, permutations."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.backbones import SSTBackbone
from mae3d.models.layers import Packing, attention
from mae3d.models.layers.grouping import within_limit
from mae3d.models.layers.windows import WindowPosition, permute_rows, plan_windows
from mae3d.structures import VoxelGrid, Voxels
from tests.oracles import voxel_mae as oracle

GRID = VoxelGrid((0, 0, 0, 20, 17, 1), (1, 1, 1))


def scattered(count: int = 220, clouds: int = 2, seed: int = 0) -> Voxels:
    """Random cells of a 20 x 17 grid, the last cloud empty."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(clouds * GRID.num_cells, generator=generator)[:count].sort().values
    coordinates = GRID.coordinates(keys)
    offsets = torch.searchsorted(coordinates[:, 0].contiguous(), torch.arange(clouds + 2))
    return Voxels(coordinates, offsets, GRID, torch.randn(count, 16, generator=generator))


@pytest.mark.parametrize("shifted", [False, True])
def test_windowed_attention_equals_dense_attention_with_a_window_mask(shifted):
    voxels = scattered()
    setting = oracle.Setting(window=(5, 4))
    query, key, value = torch.randn(3, len(voxels), 4, 8, dtype=torch.float64, requires_grad=True)
    plan = plan_windows(voxels.coordinates, (5, 4, 1), GRID.grid_size, 3, shifted=shifted)
    packed = attention(*(x[plan.order] for x in (query, key, value)), plan.packing)[plan.inverse]
    visible, _ = oracle.same_window(voxels.coordinates, shifted, setting)
    heads = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
    dense = F.scaled_dot_product_attention(*heads, attn_mask=visible)[0].transpose(0, 1)
    torch.testing.assert_close(packed, dense)
    seed = torch.randn_like(dense)
    ours = torch.autograd.grad(packed, (query, key, value), seed)
    theirs = torch.autograd.grad(dense, (query, key, value), seed)
    torch.testing.assert_close(ours, theirs)


def test_windows_of_equal_length_lie_side_by_side():
    plan = plan_windows(scattered().coordinates, (5, 4, 1), GRID.grid_size, 3, shifted=False)
    lengths = plan.packing.offsets.diff()
    assert (lengths.diff() >= 0).all()
    assert plan.packing.max_length == int(lengths.max())
    assert sum(length * samples for length, samples in plan.packing.runs) == len(plan.order)
    assert len(plan.packing.runs) == len(set(lengths.tolist()))


@pytest.mark.parametrize("window", [(5, 4), (7, 7)])
def test_position_is_that_of_the_card(window):
    voxels, setting = scattered(), oracle.Setting(window=window)
    encoding = WindowPosition(16, (*window, 1))
    for shifted in (False, True):
        plan = plan_windows(voxels.coordinates, (*window, 1), GRID.grid_size, 3, shifted=shifted)
        _, place = oracle.same_window(voxels.coordinates, shifted, setting)
        expected = oracle.position(place, 16, setting)
        torch.testing.assert_close(encoding(plan.cells)[plan.inverse], expected)


def test_position_of_windows_with_several_layers_has_three_blocks():
    table = WindowPosition(20, (2, 2, 2)).table
    assert table.shape == (8, 20)
    assert (table[:, 18:] == 0).all()
    # The first half of the cells is the lower layer: only the z block tells the halves apart.
    torch.testing.assert_close(table[:4, :12], table[4:, :12])
    assert not torch.equal(table[:4, 12:18], table[4:, 12:18])


def test_output_does_not_depend_on_the_order_of_the_tokens():
    torch.manual_seed(0)
    model, voxels = SSTBackbone(16, 2, 2, window=(5, 4, 1)).double(), scattered()
    features = voxels.features.double()
    order = torch.randperm(len(voxels))
    expected = model.encode(features, voxels.coordinates, GRID, 3)
    shuffled = model.encode(features[order], voxels.coordinates[order], GRID, 3)
    torch.testing.assert_close(shuffled, expected[order])


def test_far_voxels_do_not_matter_but_neighbours_of_the_other_partition_do():
    torch.manual_seed(0)
    model = SSTBackbone(16, 1, 2, window=(4, 4, 1))
    coordinates = torch.tensor([[0, 0, 1, 3], [0, 0, 1, 4], [0, 0, 12, 12]])
    features = torch.randn(3, 16)

    def first(changed: int) -> torch.Tensor:
        other = features.clone()
        other[changed] += 1
        return model.encode(other, coordinates, GRID, 1)[0]

    base = model.encode(features, coordinates, GRID, 1)[0]
    assert torch.equal(first(2), base)
    assert not torch.allclose(first(1), base)


def test_permutation_gathers_both_ways():
    rows, order = torch.randn(9, 3, dtype=torch.float64, requires_grad=True), torch.randperm(9)
    inverse = order.argsort()
    assert torch.equal(permute_rows(rows, order, inverse), rows[order])
    assert torch.autograd.gradcheck(lambda x: permute_rows(x, order, inverse), rows)


def test_limit_keeps_random_members_of_full_groups():
    groups = torch.tensor([0, 1, 1, 1, 1, 2, 2, 1])
    draws = {tuple(within_limit(groups, 3, torch.Generator().manual_seed(seed)).tolist()) for seed in range(40)}
    assert len(draws) == 10  # 5 over 3
    assert all({0, 5, 6} < set(rows) and len(rows) == 6 and list(rows) == sorted(rows) for rows in draws)
    assert within_limit(groups, 5).tolist() == list(range(8))


def test_training_drops_voxels_of_full_windows_and_testing_does_not():
    torch.manual_seed(0)
    voxels = scattered(count=500)
    model = SSTBackbone(16, 1, 2, window=(5, 5, 1), max_window_tokens=9)
    assert len(model.eval()(voxels)) == 500
    kept = model.train()(voxels, torch.Generator().manual_seed(1))
    again = model(voxels, torch.Generator().manual_seed(1))
    assert torch.equal(kept.coordinates, again.coordinates)
    assert kept.batch_size == voxels.batch_size
    assert int(kept.offsets[-1]) == len(kept) < 500
    for shifted in (False, True):
        plan = plan_windows(kept.coordinates, (5, 5, 1), GRID.grid_size, 3, shifted=shifted)
        assert plan.packing.max_length <= 9
    # A voxel goes only where one of its two windows was too full.
    before = [plan_windows(voxels.coordinates, (5, 5, 1), GRID.grid_size, 3, shifted=s) for s in (False, True)]
    crowded = torch.zeros(500, dtype=torch.bool)
    for plan in before:
        lengths = plan.packing.offsets.diff()
        crowded |= (lengths[plan.packing.sample] > 9)[plan.inverse]
    assert torch.isin(GRID.keys(voxels.coordinates[~crowded]), GRID.keys(kept.coordinates)).all()


def test_no_voxels_at_all():
    model = SSTBackbone(16, 1, 2)
    empty = Voxels(torch.zeros(0, 4, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), GRID, torch.zeros(0, 16))
    assert model(empty).features.shape == (0, 16)


def test_equal_runs_of_packed_samples_are_one_call():
    query, key, value = torch.randn(3, 11, 2, 4)
    packing = Packing.from_offsets(torch.tensor([0, 2, 4, 4, 7, 10, 11]))
    assert packing.runs == [(2, 2), (0, 1), (3, 2), (1, 1)]
    single = [attention(*(x[a:b].unsqueeze(0) for x in (query, key, value)))[0] for a, b in ((0, 2), (2, 4), (4, 7))]
    torch.testing.assert_close(attention(query, key, value, packing)[:7], torch.cat(single))


def test_impossible_options_are_named():
    with pytest.raises(ConfigError, match="window"):
        SSTBackbone(window=(16, 0, 1))
    with pytest.raises(ConfigError, match="max_window_tokens"):
        SSTBackbone(max_window_tokens=0)


def test_compiles_with_breaks_only_where_lengths_are_read():
    torch.compiler.reset()
    torch.manual_seed(0)
    model, voxels = SSTBackbone(16, 1, 2, window=(5, 4, 1)).eval(), scattered()
    expected = model(voxels).features
    model.compile(backend="aot_eager")
    torch.testing.assert_close(model(voxels).features, expected)
