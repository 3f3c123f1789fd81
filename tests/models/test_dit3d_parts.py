"""Parts of DiT-3D and FastDiT-3D: voxels and patches, masking, windows, experts."""

import pytest
import torch
from torch import nn

from mae3d.models.layers import Attention, GridWindows, MixtureMlp, Mlp, balance_loss
from mae3d.models.masking import OccupancyMasking
from mae3d.models.tokenizers import GridPatchTokenizer
from mae3d.ops import grid_coordinates, trilinear_devoxelize, voxel_average
from tests.models.dit3d_inputs import clouds, shaken
from tests.oracles import dit3d as oracle


def test_property_2_devoxelising_constant_and_linear_grids():
    coordinates = grid_coordinates(clouds(1, 500), 8)
    assert torch.allclose(trilinear_devoxelize(torch.full((1, 3, 8, 8, 8), 2.5), coordinates), torch.tensor(2.5))
    axis = torch.arange(8.0)
    linear = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))[None]
    torch.testing.assert_close(trilinear_devoxelize(linear, coordinates), coordinates)


def test_property_2_patches_and_grid_are_inverse_to_each_other():
    model = GridPatchTokenizer(8, 2, 12)
    grid = torch.randn(1, 3, 8, 8, 8)
    patches = model.patchify(grid).unflatten(2, (3, 8)).transpose(2, 3).flatten(2)  # channel last, as predicted
    coordinates = torch.cartesian_prod(*[torch.arange(8.0)] * 3)[None]
    read = model.to_points(patches, coordinates)
    torch.testing.assert_close(read[0], grid[0].flatten(1).T)


def test_property_3_voxel_means_conserve_the_sum():
    points = clouds(2, 200)
    cells = grid_coordinates(points, 8).round().long()
    voxels = voxel_average(points, cells, 8)
    summed = (voxels.grid * voxels.counts.unsqueeze(1)).flatten(2).sum(2)
    torch.testing.assert_close(summed, points.sum(1), rtol=1e-4, atol=1e-4)
    patches = GridPatchTokenizer(8, 2, 12)(points)
    assert patches.occupied.gather(1, patches.owner).all()
    assert patches.occupied.sum() == sum(len(row.unique()) for row in patches.owner)


@pytest.mark.parametrize(("foreground", "background"), [(0.95, 0.99), (0.5, 0.75), (0.0, 1.0)])
def test_property_5_counts_of_both_groups(foreground, background):
    occupied = torch.rand(4, 512, generator=torch.Generator().manual_seed(0)) < torch.tensor([[0.3], [0.01], [0], [1]])
    mask = OccupancyMasking(foreground, background)(occupied, torch.Generator().manual_seed(1))
    visible = ~mask.to_bool().unflatten(0, (4, 512))
    for row in range(4):
        for group, ratio in ((occupied[row], foreground), (~occupied[row], background)):
            size = int(group.sum())
            wanted = max(1, round(size * (1 - ratio))) if size else 0
            assert int((visible[row] & group).sum()) == wanted
    again = OccupancyMasking(foreground, background)(occupied, torch.Generator().manual_seed(1))
    assert torch.equal(mask.visible, again.visible)
    other = OccupancyMasking(foreground, background)(occupied, torch.Generator().manual_seed(2))
    assert not torch.equal(mask.visible, other.visible)


def test_masking_without_regard_to_occupancy():
    occupied = torch.arange(512).expand(2, -1) < 100
    mask = OccupancyMasking(background_ratio=0.75, aware=False)(occupied)
    assert (~mask.to_bool().unflatten(0, (2, 512))).sum(1).tolist() == [128, 128]


@pytest.mark.parametrize("size", [4, 5, 100])
def test_property_6_a_window_over_the_grid_is_global_attention(size):
    attention = Attention(8, 2)
    x = torch.randn(2, 64, 8)
    torch.testing.assert_close(GridWindows(4, size)(attention, x), attention(x))


@pytest.mark.parametrize(("grid", "size"), [(4, 2), (5, 2), (5, 3)])
def test_windows_equal_their_definition(grid, size):
    attention = Attention(8, 2).double()
    x = torch.randn(1, grid**3, 8, dtype=torch.float64)
    found = GridWindows(grid, size)(attention, x)
    groups = oracle.windows(grid, size)
    assert len(groups) == (-(-grid // size)) ** 3
    state = {f"a.{name}": value for name, value in attention.state_dict().items()}
    torch.testing.assert_close(found[0], oracle.attend(x[0], state, "a", 2, groups))


def test_property_7_one_expert_is_an_mlp():
    mixture, plain = MixtureMlp(16, 32, 1), Mlp(16, 32)
    plain.load_state_dict(
        {
            "fc1.weight": mixture.weight1[0],
            "fc1.bias": mixture.bias1[0],
            "fc2.weight": mixture.weight2[0],
            "fc2.bias": mixture.bias2[0],
        }
    )
    x = torch.randn(3, 5, 16)
    found, routing = mixture(x)
    torch.testing.assert_close(found, plain(x))
    assert balance_loss(routing[None]).item() == pytest.approx(1.0)


def test_property_7_balance_loss_between_its_bounds():
    uniform = torch.full((2, 2, 4), 0.25)
    assert balance_loss(uniform).item() == pytest.approx(1.0)
    collapsed = torch.zeros(1, 2, 4)
    collapsed[..., 0] = 1
    assert balance_loss(collapsed).item() == pytest.approx(4.0)


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_experts_equal_a_loop_over_tokens(top_k):
    mixture = shaken(MixtureMlp(16, 24, 3, top_k))
    x = torch.randn(7, 16, requires_grad=True)
    found, routing = mixture(x)
    probability = (x @ mixture.router.weight.T + mixture.router.bias).softmax(-1)
    rows, share = [], torch.zeros(3)
    for row in range(7):
        total = 0
        for expert in probability[row].topk(top_k).indices.tolist():
            hidden = nn.functional.gelu(mixture.weight1[expert] @ x[row] + mixture.bias1[expert])
            total = total + probability[row, expert] * (mixture.weight2[expert] @ hidden + mixture.bias2[expert])
            share[expert] += 1 / (7 * top_k)
        rows.append(total)
    expected = torch.stack(rows)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(routing, torch.stack((share, probability.mean(0))))
    weights = torch.randn_like(found)
    ours = torch.autograd.grad((found * weights).sum(), [x, *mixture.parameters()])
    theirs = torch.autograd.grad((expected * weights).sum(), [x, *mixture.parameters()])
    for first, second in zip(ours, theirs):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_experts_take_no_tokens():
    found, _ = MixtureMlp(16, 24, 3)(torch.zeros(0, 16))
    assert found.shape == (0, 16)


def test_positions_are_the_published_table():
    torch.testing.assert_close(GridPatchTokenizer(6, 2, 24).position[0], oracle.positions(3, 24))
