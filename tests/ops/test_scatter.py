"""Scatter reductions against plain loops, float64 and torch's own."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops.reference import scatter as reference
from mae3d.ops.scatter import REDUCTIONS, scatter_reduce
from mae3d.ops.voxelize import voxelize
from tests.ops.harness import DEVICES, check_grad, check_op, generator, lidar_like_cloud

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def inputs(rows: int, width: int, groups: int, seed: int = 0, dtype=torch.float32) -> tuple[Tensor, Tensor]:
    g = generator(seed)
    features = torch.randint(-8, 9, (rows, width), generator=g) / 4  # few values: many ties
    return features.to(dtype), torch.randint(-1, max(groups, 1), (rows,), generator=g)


def by_loop(features: Tensor, index: Tensor, groups: int, reduce: str) -> Tensor:
    out = torch.zeros(groups, features.shape[1], dtype=torch.float64)
    for row in range(groups):
        members = features.double()[index == row]
        if len(members) == 0:
            continue
        out[row] = {"sum": members.sum(0), "mean": members.mean(0), "max": members.amax(0), "min": members.amin(0)}[
            reduce
        ]
    return out


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 3, 4, 5, 67])
def test_equals_loop(device: str, reduce: str, dtype: torch.dtype, width: int) -> None:
    features, index = inputs(400, width, 37, dtype=dtype)
    got = scatter_reduce(features.to(device), index.to(device), 37, reduce)
    assert got.dtype == dtype
    torch.testing.assert_close(got.cpu(), by_loop(features, index, 37, reduce).to(dtype))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(8))
def test_kernel_equals_reference_fuzz(device: str, seed: int) -> None:
    rng = random.Random(seed)
    rows, groups, width = rng.choice([0, 1, 50, 3000]), rng.choice([1, 7, 900]), rng.choice([0, 1, 4, 33])
    features, index = inputs(rows, width, groups, seed, rng.choice(DTYPES))
    features, index = features.to(device), index.to(device)
    for reduce in REDUCTIONS:
        got = torch.ops.mae3d.scatter_reduce(features, index, groups, reduce, True)
        want = reference.scatter_reduce(features, index, groups, reduce, True)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b)
        grad = torch.randn(groups, width, generator=generator(seed)).to(features)
        torch.testing.assert_close(
            torch.ops.mae3d.scatter_reduce_backward(grad, index, *got[1:], reduce),
            reference.scatter_reduce_backward(grad, index, *want[1:], reduce),
        )


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_gradcheck(reduce: str) -> None:
    features = torch.randn(25, 3, generator=generator(1))  # no ties: max and min are differentiable
    index = torch.randint(-1, 6, (25,), generator=generator(2))
    check_grad(lambda f: scatter_reduce(f, index, 6, reduce), features)


def test_gradient_of_ties_goes_to_the_first() -> None:
    features = torch.tensor([[1.0], [2.0], [2.0], [-1.0], [-1.0]], requires_grad=True)
    index = torch.tensor([0, 0, 0, 1, 1])
    scatter_reduce(features, index, 3, "max").sum().backward()
    assert features.grad.squeeze(1).tolist() == [0, 1, 0, 1, 0]


def test_extremes_keep_infinities_and_nan() -> None:
    inf, nan = float("inf"), float("nan")
    features = torch.tensor([[-inf, 1.0], [-inf, nan], [3.0, 2.0]])
    got = scatter_reduce(features, torch.tensor([0, 0, 1]), 3, "max")
    torch.testing.assert_close(got, torch.tensor([[-inf, nan], [3.0, 2.0], [0.0, 0.0]]), equal_nan=True)


def test_half_accumulates_in_float32() -> None:
    features = torch.full((5000, 1), 1.0, dtype=torch.bfloat16)  # bfloat16 sums would stick at 256
    index = torch.zeros(5000, dtype=torch.int64)
    assert scatter_reduce(features, index, 1, "sum").item() == torch.tensor(5000.0).bfloat16().item()
    assert scatter_reduce(features, index, 1, "mean").item() == 1


def test_result_does_not_depend_on_threads() -> None:
    features = torch.randn(30000, 9, generator=generator(0))
    index = torch.randint(-1, 2000, (30000,), generator=generator(1))
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append([torch.ops.mae3d.scatter_reduce(features, index, 2000, r, True) for r in REDUCTIONS])
    for other in results[1:]:
        assert all(torch.equal(a, b) for x, y in zip(results[0], other) for a, b in zip(x, y))


def test_dense_features_and_strides() -> None:
    features = torch.randn(2, 50, 8, generator=generator(3))[..., ::2]
    index = torch.randint(-1, 9, (50, 2), generator=generator(4)).t()
    got = scatter_reduce(features, index, 9, "mean")
    torch.testing.assert_close(got, by_loop(features.reshape(-1, 4), index.reshape(-1), 9, "mean").float())


def test_voxel_mean_of_coordinates_lies_in_the_voxel() -> None:
    points = lidar_like_cloud(3000)
    size, low = torch.tensor([1.0, 1.0, 2.0]), torch.tensor([-80.0, -80.0, -4.0])
    voxels = voxelize(points, size.tolist(), [*low.tolist(), 80.0, 80.0, 4.0])
    mean = scatter_reduce(points, voxels.point_to_voxel, len(voxels.counts), "mean")
    corner = voxels.coordinates[:, 1:].flip(1) * size + low
    assert bool(((mean >= corner - 1e-4) & (mean <= corner + size + 1e-4)).all())


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_opcheck(reduce: str) -> None:
    features, index = inputs(20, 3, 5)
    with_arg = reduce in ("max", "min")
    check_op(torch.ops.mae3d.scatter_reduce.default, (features.requires_grad_(), index, 5, reduce, with_arg))


def test_compiles_with_a_data_dependent_number_of_rows() -> None:
    def pooled(points: Tensor) -> Tensor:
        voxels = voxelize(points, (1.0, 1.0, 8.0), (-80.0, -80.0, -4.0, 80.0, 80.0, 4.0))
        return scatter_reduce(points, voxels.point_to_voxel, voxels.counts.shape[0], "mean").square().sum()

    torch.compiler.reset()
    points = lidar_like_cloud(700).requires_grad_()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(pooled, fullgraph=True, backend="aot_eager")
        (got,) = torch.autograd.grad(compiled(points), points)
    (want,) = torch.autograd.grad(pooled(points), points)
    torch.testing.assert_close(got, want)


def test_wrong_arguments() -> None:
    features, index = inputs(10, 3, 4)
    with pytest.raises(OperatorInputError, match="'reduce' must be one of"):
        scatter_reduce(features, index, 4, "median")
    with pytest.raises(OperatorInputError, match="'index' must have shape"):
        scatter_reduce(features, index[:9], 4)
    with pytest.raises(OperatorInputError, match="floating point"):
        scatter_reduce(features.int(), index, 4)
    with pytest.raises(OperatorInputError, match="'num_rows'"):
        scatter_reduce(features, index, -1)
    with pytest.raises(RuntimeError, match="'index' must be below num_rows = 2"):
        scatter_reduce(features, torch.full((10,), 2), 2)
    with pytest.raises(RuntimeError, match="scatter_reduce: 'index' must have size"):
        torch.ops.mae3d.scatter_reduce(features, index[:9], 4, "sum", False)
    counts, arg = torch.zeros(4).long(), torch.zeros(0, 3).int()
    with pytest.raises(RuntimeError, match="scatter_reduce_backward: 'arg' must have"):
        torch.ops.mae3d.scatter_reduce_backward(torch.zeros(4, 3), index, counts, arg, "max")
