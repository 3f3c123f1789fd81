"""Cross-attention between the windows of two frames (T-MAE) and cosine attention, against loops and single windows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mae3d.models.backbones.sst_pyramid import WindowCrossAttention, cells_of, pillar_input
from mae3d.models.layers.attention import Attention, CrossAttention, attention
from mae3d.models.layers.packing import Packing
from mae3d.models.layers.windows import plan_joint_windows, plan_windows
from mae3d.structures import VoxelGrid, Voxels
from mae3d.structures.sparse_tensor import SparseTensor
from tests.oracles import t_mae as oracle

GRID = VoxelGrid((0.0, 0.0, 0.0, 16.0, 16.0, 1.0), (1.0, 1.0, 1.0))


def sparse(cells, width=8, seed=0):
    """A sparse tensor of random features on cells [V, 3] (sample, y, x) of the 16 x 16 grid."""
    offsets = torch.searchsorted(cells[:, 0].contiguous(), torch.arange(int(cells[:, 0].max()) + 2))
    features = torch.randn(len(cells), width, generator=torch.Generator().manual_seed(seed))
    return pillar_input(Voxels(flat(cells), offsets, GRID, features))


def flat(cells):
    """(sample, y, x) -> (sample, 0, y, x)."""
    return torch.cat((cells[:, :1], torch.nn.functional.pad(cells[:, 1:], (1, 0))), dim=1)


def random_cells(seed, count, samples=2, low=0, high=16):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(samples * (high - low) ** 2, generator=generator)[:count].sort().values
    side = high - low
    return torch.stack((keys // side**2, keys // side % side + low, keys % side + low), dim=1)


def test_a_copied_frame_makes_cross_attention_self_attention():
    torch.manual_seed(0)
    cross = WindowCrossAttention(8, 2, 4, "key")
    x = sparse(random_cells(0, 150))
    cells, grid = cells_of(x)
    plan = plan_joint_windows(cells, cells, (4, 4, 1), grid, shifted=False)
    assert torch.equal(plan.query_rows, plan.key_rows)
    own = plan_windows(cells, (4, 4, 1), grid, 2, shifted=False)
    block = cross.blocks[0]
    features = x.features
    at = cross.position(plan.query_cells)
    asked = block.attn(features[plan.query_rows], features[plan.key_rows], plan.packing, at, at)
    same = Attention(8, 2, similarity="cosine")
    same.load_state_dict(block.attn.state_dict())
    looked = same(features[own.order], own.packing, cross.position(own.cells))[own.inverse]
    torch.testing.assert_close(asked, looked[plan.query_rows])


@pytest.mark.parametrize("shifted", [False, True])
def test_joint_windows_against_a_loop(shifted):
    window, grid = (4, 4, 1), (16, 16, 1)
    sets = [random_cells(seed, count)[torch.randperm(count)] for seed, count in ((1, 90), (2, 40))]
    sets = [flat(rows) for rows in sets]
    plan = plan_joint_windows(*sets, window, grid, shifted=shifted)
    numbers = [oracle.windows(s[:, [0, 2, 3]], shifted, 4)[0].tolist() for s in sets]
    shared = {tuple(n) for n in numbers[0]} & {tuple(n) for n in numbers[1]}
    assert 0 < len(shared) < len({tuple(n) for n in numbers[0]})
    for rows, own, side in zip((plan.query_rows, plan.key_rows), numbers, (plan.packing.query, plan.packing.key)):
        assert sorted(rows.tolist()) == [row for row, number in enumerate(own) if tuple(number) in shared]
        found = [{tuple(own[r]) for r in part.tolist()} for part in rows.split(side.offsets.diff().tolist())]
        assert all(len(numbers) == 1 for numbers in found)
    pair = [
        [tuple(own[r]) for r in rows[side.offsets[:-1]].tolist()]
        for rows, own, side in (
            (plan.query_rows, numbers[0], plan.packing.query),
            (plan.key_rows, numbers[1], plan.packing.key),
        )
    ]
    assert pair[0] == pair[1]


def test_padded_cross_attention_equals_windows_one_by_one():
    torch.manual_seed(0)
    layer = CrossAttention(8, 2, similarity="cosine")
    with torch.no_grad():
        layer.tau.fill_(0.3)
    sets = [flat(random_cells(3, 200)), flat(random_cells(4, 70))]
    plan = plan_joint_windows(*sets, (4, 4, 1), (16, 16, 1), shifted=True)
    x, y = torch.randn(len(plan.query_rows), 8), torch.randn(len(plan.key_rows), 8)
    zero = torch.zeros_like(x), torch.zeros_like(y)
    together = layer(x, y, plan.packing, *zero)
    query, key = plan.packing.query.offsets.tolist(), plan.packing.key.offsets.tolist()
    for w in range(len(query) - 1):
        mine, theirs = x[query[w] : query[w + 1]], y[key[w] : key[w + 1]]
        visible = torch.ones(len(mine), len(theirs), dtype=torch.bool)
        state = {
            "a.in_proj_weight": layer.qkv.weight,
            "a.in_proj_bias": layer.qkv.bias,
            "a.tau": layer.tau,
            "a.out_proj.weight": layer.proj.weight,
            "a.out_proj.bias": layer.proj.bias,
        }
        alone = oracle.attend(state, "a", mine, 0 * mine, theirs, 0 * theirs, visible, 2)
        torch.testing.assert_close(together[query[w] : query[w + 1]], alone)


def test_temperature_is_clamped():
    torch.manual_seed(0)
    layer, x = Attention(8, 2, similarity="cosine"), torch.randn(1, 5, 8)
    results = []
    for tau in (0.01, -3.0, 1.0):
        with torch.no_grad():
            layer.tau.fill_(tau)
        results.append(layer(x))
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[0], results[2])


def test_windows_empty_in_one_frame_pass_norms_and_mlp_alone():
    torch.manual_seed(0)
    cross = WindowCrossAttention(8, 2, 4, "key")
    now, before = sparse(random_cells(0, 200)), sparse(random_cells(1, 60, high=8), seed=1)
    out = cross.attend(now, before)
    expected = now.features
    for block in cross.blocks:
        normed = block.norm1(expected)
        expected = block.norm2(normed + block.mlp(normed))
    far = (now.coordinates[:, 1:] >= 12).any(dim=1)  # more than a window from every earlier pillar
    assert 0 < far.sum() < len(far)
    torch.testing.assert_close(out[far], expected[far])
    assert not torch.isclose(out, expected).all(dim=1)[(now.coordinates[:, 1:] < 8).all(dim=1)].any()
    empty = SparseTensor(before.features[:0], before.coordinates[:0], before.spatial_shape, before.batch_size)
    torch.testing.assert_close(cross.attend(now, empty), expected)


def test_moving_both_frames_by_a_window_changes_nothing():
    torch.manual_seed(0)
    cross = WindowCrossAttention(8, 2, 4, "key").eval()
    cells = [random_cells(seed, count, high=8) for seed, count in ((0, 90), (1, 50))]
    moved = [rows + torch.tensor([0, 4, 8]) for rows in cells]
    here, there = (cross(sparse(a, seed=1), sparse(b, seed=2)).features for a, b in (cells, moved))
    torch.testing.assert_close(here, there)
    apart = cross(sparse(cells[0], seed=1), sparse(moved[1], seed=2)).features
    assert not torch.allclose(here, apart)


def test_attention_of_packed_rows_takes_the_cosine_too():
    torch.manual_seed(0)
    layer, x = Attention(8, 2, similarity="cosine"), torch.randn(7, 8)
    packing = Packing.from_offsets(torch.tensor([0, 3, 7]))
    together = layer(x, packing)
    torch.testing.assert_close(together, torch.cat([layer(part[None])[0] for part in (x[:3], x[3:])]))
    assert attention(*(3 * [x[:0].view(0, 2, 4)]), packing).shape == (0, 2, 4)
    assert isinstance(layer.tau, nn.Parameter)
