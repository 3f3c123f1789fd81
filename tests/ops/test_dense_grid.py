"""Dense-grid averaging and trilinear reading against loops, closed forms and scipy."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops.dense_grid import grid_coordinates, trilinear_devoxelize, voxel_average
from mae3d.ops.reference import dense_grid as reference
from tests.ops.harness import DEVICES, check_compiles, check_grad, check_op, generator, random_cloud

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def random_cells(batch: int, points: int, resolution: int, seed: int = 0) -> Tensor:
    return torch.randint(-1, resolution + 1, (batch, points, 3), generator=generator(seed))


@pytest.mark.parametrize("device", DEVICES)
def test_average_equals_loop(device: str) -> None:
    features, cells = torch.randn(2, 90, 11, generator=generator(0)), random_cells(2, 90, 3)
    got = voxel_average(features.to(device), cells.to(device), 3)
    grid, counts = torch.zeros(2, 11, 3, 3, 3, dtype=torch.float64), torch.zeros(2, 3, 3, 3, dtype=torch.int64)
    for b in range(2):
        for i in range(90):
            x, y, z = cells[b, i].tolist()
            if min(x, y, z) >= 0 and max(x, y, z) < 3:
                grid[b, :, x, y, z] += features[b, i].double()
                counts[b, x, y, z] += 1
    torch.testing.assert_close(got.grid.cpu(), (grid / counts.clamp(min=1)[:, None]).float())
    assert torch.equal(got.counts.cpu(), counts)


def test_average_conserves_sums() -> None:
    points = random_cloud(3, 500, seed=1)
    cells = grid_coordinates(points, 16).round().long()
    got = voxel_average(points.double(), cells, 16)
    torch.testing.assert_close((got.grid * got.counts[:, None]).sum((2, 3, 4)), points.double().sum(1))


@pytest.mark.parametrize("device", DEVICES)
def test_constant_and_linear_grids_are_read_exactly(device: str) -> None:
    r = 8
    axis = torch.arange(r, dtype=torch.float64)
    x, y, z = torch.meshgrid(axis, axis, axis, indexing="ij")
    grid = torch.stack((torch.full_like(x, 3.5), 2 * x - y + 5 * z))[None].to(device)
    u = torch.rand(1, 400, 3, generator=generator(2)) * (r - 1)
    u[0, 0], u[0, 1], u[0, 2] = 0.0, r - 1.0, torch.tensor([r - 1.0, 2.0, 3.5])
    got = trilinear_devoxelize(grid, u.to(device)).cpu()
    wide = u.double()
    # Weights are products of float32 fractions.
    torch.testing.assert_close(got[..., 0], torch.full((1, 400), 3.5, dtype=torch.float64), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got[..., 1], 2 * wide[..., 0] - wide[..., 1] + 5 * wide[..., 2], rtol=1e-5, atol=1e-5)


def test_reading_equals_scipy() -> None:
    grid = torch.randn(1, 2, 7, 7, 7, generator=generator(3))
    u = torch.rand(1, 200, 3, generator=generator(4)) * 9 - 1  # some outside: clamped
    got = trilinear_devoxelize(grid, u)
    for c in range(2):
        want = map_coordinates(grid[0, c].double().numpy(), u[0].double().numpy().T, order=1, mode="nearest")
        np.testing.assert_allclose(got[0, :, c].numpy(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(8))
def test_kernels_equal_reference_fuzz(device: str, seed: int) -> None:
    rng = random.Random(seed)
    batch, points, channels, r = (
        rng.choice([0, 1, 3]),
        rng.choice([0, 1, 300]),
        rng.choice([1, 9, 17]),
        rng.randint(1, 9),
    )
    dtype = DTYPES[seed % 4]
    g = generator(seed)
    features = torch.randn(batch, points, channels, generator=g).to(device, dtype)
    cells = random_cells(batch, points, r, seed).to(device)
    u = (torch.rand(batch, points, 3, generator=g) * (r + 1) - 1).to(device)
    u[:, :1, 1] = float("nan")
    u[:, 1:2, 2] = float("inf")
    grid = torch.randn(batch, channels, r, r, r, generator=g).to(device, dtype)
    got, want = torch.ops.mae3d.voxel_average(features, cells, r), reference.voxel_average(features, cells, r)
    torch.testing.assert_close(got[0], want[0])
    assert torch.equal(got[1], want[1])
    for name, args in (
        ("voxel_average_backward", (grid, cells, got[1])),
        ("trilinear_devoxelize", (grid, u)),
        ("trilinear_devoxelize_backward", (features, u, r)),
    ):
        torch.testing.assert_close(getattr(torch.ops.mae3d, name)(*args), getattr(reference, name)(*args))


def test_gradcheck() -> None:
    cells, u = random_cells(2, 15, 3), torch.rand(2, 15, 3, generator=generator(5)) * 2
    check_grad(lambda f: voxel_average(f, cells, 3).grid, torch.randn(2, 15, 4, generator=generator(6)))
    check_grad(lambda g: trilinear_devoxelize(g, u), torch.randn(2, 4, 3, 3, 3, generator=generator(7)))


def test_grid_coordinates_follow_the_definition() -> None:
    points = random_cloud(2, 300, seed=8, scale=5.0, shift=-1.0)
    got = grid_coordinates(points, 32)
    for b in range(2):
        wide = points[b].double()
        centred = wide - wide.mean(0)
        u = centred / (2 * centred.norm(dim=1).max()) + 0.5
        torch.testing.assert_close(got[b].double(), (u * 32).clamp(0, 31), rtol=1e-4, atol=1e-4)
    assert torch.equal(grid_coordinates(torch.full((1, 5, 3), 2.0), 32), torch.full((1, 5, 3), 16.0))
    unit = torch.tensor([[[-1.0, 0.0, 1.0]]])
    assert grid_coordinates(unit, 4, normalize=False).tolist() == [[[0.0, 2.0, 3.0]]]


def test_result_does_not_depend_on_threads() -> None:
    features, cells = torch.randn(2, 4000, 20, generator=generator(9)), random_cells(2, 4000, 12)
    u = torch.rand(2, 4000, 3, generator=generator(10)) * 11
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(
            (voxel_average(features, cells, 12).grid, torch.ops.mae3d.trilinear_devoxelize_backward(features, u, 12))
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_opcheck() -> None:
    features = torch.randn(2, 12, 3, requires_grad=True)
    check_op(torch.ops.mae3d.voxel_average.default, (features, random_cells(2, 12, 4), 4))
    grid = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    check_op(torch.ops.mae3d.trilinear_devoxelize.default, (grid, torch.rand(2, 12, 3)))


def test_compiles() -> None:
    def there_and_back(points: Tensor) -> Tensor:
        u = grid_coordinates(points, 8)
        return trilinear_devoxelize(voxel_average(points, u.round().long(), 8).grid, u)

    check_compiles(there_and_back, random_cloud(2, 60))


def test_wrong_arguments() -> None:
    features, cells, grid = torch.zeros(1, 5, 2), torch.zeros(1, 5, 3).long(), torch.zeros(1, 2, 4, 4, 4)
    with pytest.raises(OperatorInputError, match="'cells' must have shape"):
        voxel_average(features, cells[:, :4], 4)
    with pytest.raises(OperatorInputError, match="'cells' must have dtype int64"):
        voxel_average(features, cells.int(), 4)
    with pytest.raises(OperatorInputError, match="'resolution'"):
        voxel_average(features, cells, 0)
    with pytest.raises(OperatorInputError, match="'grid' must be cubic"):
        trilinear_devoxelize(grid[..., :3], torch.zeros(1, 5, 3))
    with pytest.raises(OperatorInputError, match="'coordinates' must have shape"):
        trilinear_devoxelize(grid, torch.zeros(2, 5, 3))
    with pytest.raises(RuntimeError, match="voxel_average: 'resolution' must be in"):
        torch.ops.mae3d.voxel_average(features, cells, 5000)
    with pytest.raises(RuntimeError, match="trilinear_devoxelize: 'coordinates' must have dtype"):
        torch.ops.mae3d.trilinear_devoxelize(grid, torch.zeros(1, 5, 3).double())
    with pytest.raises(RuntimeError, match="voxel_average_backward: 'counts' must have size"):
        torch.ops.mae3d.voxel_average_backward(grid, cells, torch.zeros(1, 3, 4, 4).long())
