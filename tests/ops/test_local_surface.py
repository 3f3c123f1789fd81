"""Normals and surface variation: planes, motion, and a point-by-point restatement in float64."""

import math

import pytest
import torch
from torch import nn

from mae3d import ops
from mae3d.datasets.transforms import RandomScale, RotateY
from mae3d.errors import OperatorInputError
from tests.oracles import maskfeat3d as oracle


def sheet(normal=(0.0, 0.0, 1.0), points=200):
    """A flat patch of random points."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(1, points, 3, generator=generator)
    normal = nn.functional.normalize(torch.tensor(normal), dim=0)
    return flat - (flat @ normal)[..., None] * normal, normal


def test_surface_equals_its_definition():
    cloud = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(0))
    normals, variation = ops.local_surface(cloud, k=12)
    for index in range(2):
        expected_normals, expected = oracle.surface(cloud[index].double(), 12)
        torch.testing.assert_close(variation[index], expected.float())
        torch.testing.assert_close((normals[index] * expected_normals.float()).sum(-1).abs(), torch.ones(60))
    assert variation.min() > 0
    assert variation.max() < 1 / 3


def test_surface_of_a_plane():
    cloud, normal = sheet((1.0, 2.0, -0.5))
    found = ops.local_surface(cloud, k=16)
    assert found.variation.abs().max() < 1e-6
    torch.testing.assert_close((found.normals @ normal).abs(), torch.ones(1, 200))


def test_surface_of_one_place_is_flat():
    found = ops.local_surface(torch.ones(1, 8, 3), k=4)
    assert torch.equal(found.variation, torch.zeros(1, 8))
    assert found.normals.isfinite().all()


def test_variation_does_not_see_motion_and_size_and_normals_turn_along():
    cloud = torch.rand(2, 100, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    before = ops.local_surface(cloud, k=10)
    turn = RotateY(math.pi / 3, math.pi / 3)
    moved = turn({"points": torch.cat((cloud, before.normals), dim=-1)})["points"]
    after = ops.local_surface(3 * moved[..., :3] + 5, k=10)
    torch.testing.assert_close(after.variation, before.variation, rtol=1e-3, atol=1e-5)
    agreement = (after.normals * moved[..., 3:]).sum(-1).abs()
    assert agreement.quantile(0.05) > 0.999  # where two axes spread alike, either may be the normal
    scaled = RandomScale(isotropic=True)({"points": moved})["points"]
    assert torch.equal(scaled[..., 3:], moved[..., 3:])


def test_wrong_input_is_named():
    with pytest.raises(OperatorInputError, match="knn: 'k' must be in"):
        ops.local_surface(torch.zeros(1, 4, 3), k=0)
    with pytest.raises(OperatorInputError, match="knn: 'points' must have shape"):
        ops.local_surface(torch.zeros(4, 3), k=2)


def test_too_few_points_for_the_neighbours_are_named():
    with pytest.raises(OperatorInputError, match=r"local_surface: 'k' must be in .* got 5"):
        ops.local_surface(torch.zeros(1, 4, 3), k=5)


def test_traceable():
    cloud = torch.randn(1, 20, 3)
    compiled = torch.compile(ops.local_surface, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(cloud, 6), ops.local_surface(cloud, 6))
