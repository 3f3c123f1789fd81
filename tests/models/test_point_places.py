"""How points enter the networks of voxels: in metres, or normalized."""

import pytest
import torch
from torch.testing import assert_close

from mae3d.models.tokenizers import DynamicVFE, PillarMlp
from mae3d.structures import VoxelGrid, Voxels

RANGE = (-4.0, -2.0, -3.0, 12.0, 6.0, 1.0)
SIZE = (0.5, 0.25, 4.0)


def scene() -> tuple[torch.Tensor, torch.Tensor, Voxels]:
    generator = torch.Generator().manual_seed(3)
    low, high = torch.tensor(RANGE, dtype=torch.float64).split(3)
    points = low + torch.rand(400, 3, generator=generator, dtype=torch.float64) * (high - low)
    points = torch.cat((points, torch.rand(400, 1, generator=generator, dtype=torch.float64)), dim=1)
    offsets = torch.tensor([0, 150, 400])
    voxels = Voxels.from_points(points.float(), offsets, VoxelGrid(RANGE, SIZE), policy="drop")
    keep = voxels.point_to_voxel >= 0
    return points[keep].float().double(), voxels.point_to_voxel[keep], voxels


@pytest.mark.parametrize("network", [DynamicVFE, PillarMlp])
def test_normalized_points_are_another_scale_of_the_first_weights(network: type) -> None:
    """A linear layer before BatchNorm takes up any scale and shift of its input: with the weights divided by it, a
    network of normalized points gives what one of metres gives."""
    points, index, voxels = scene()
    torch.manual_seed(0)
    metres = network(4, (8, 6)).double()
    normalized = network(4, (8, 6), normalized=True).double()
    normalized.load_state_dict(metres.state_dict())
    half_range = torch.tensor([8.0, 4.0, 2.0], dtype=torch.float64)
    half_voxel = torch.tensor([0.25, 0.125, 2.0], dtype=torch.float64)
    columns = torch.cat((half_range, torch.ones(1, dtype=torch.float64)))
    parts = (columns, half_voxel, half_voxel) if network is DynamicVFE else (half_voxel, columns, half_voxel)
    first = normalized.layers[0].linear if network is DynamicVFE else normalized.layers[0]
    with torch.no_grad():
        first.weight *= torch.cat(parts)
    expected = metres(points, index, voxels)
    assert_close(normalized(points, index, voxels), expected, rtol=1e-6, atol=1e-6)
    normalized.normalized = False
    assert (normalized(points, index, voxels) - expected).abs().max() > 0.01


def test_normalized_columns_are_of_one_size() -> None:
    points, index, voxels = scene()
    columns = DynamicVFE(4, (8,), normalized=True)._decorate(points, index, voxels)
    assert columns[:, :3].abs().max() <= 1 + 1e-6
    assert columns[:, 7:].abs().max() <= 1 + 1e-6
    assert columns[:, 4:7].abs().max() <= 2
    assert_close(columns[:, 3], points[:, 3])
