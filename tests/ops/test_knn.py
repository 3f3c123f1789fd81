"""knn and three_nn against brute force, scipy, float64 gradients and the rules of their contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops.knn import knn, three_nn
from mae3d.ops.reference import knn as reference
from tests.ops.harness import (
    DEVICES,
    check_compiles,
    check_op,
    generator,
    hard_clouds,
    lidar_like_cloud,
    pack,
    random_cloud,
)

CLOUDS = hard_clouds()


def expected(points: Tensor, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
    return reference.knn(points, queries, None, None, k)


def assert_same(result: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> None:
    for ours, theirs in zip(result, wanted):
        assert torch.equal(ours.cpu(), theirs.cpu())


def copies(cloud: Tensor, times: int) -> Tensor:
    """The cloud repeated: every point has ``times - 1`` twins, and the cloud is large enough to be indexed."""
    return cloud.repeat(times, 1) if len(cloud) else cloud


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("times", [1, 13])
def test_hard_clouds_equal_brute_force(name: str, times: int, device: str) -> None:
    cloud = copies(CLOUDS[name], times)[None].to(device)
    queries = cloud[:, ::times]
    for k in (1, 7, 32, 128):
        assert_same(knn(cloud, queries, k), expected(cloud.cpu(), queries.cpu(), k))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("points", [513, 3000, 20000])
@pytest.mark.parametrize("shape", ["uniform", "lidar", "plane", "outliers", "clusters"])
def test_large_clouds_equal_brute_force(points: int, shape: str, device: str) -> None:
    cloud = lidar_like_cloud(points) if shape == "lidar" else random_cloud(1, points)[0]
    if shape == "plane":
        cloud[:, 1] = 3.0
    if shape == "outliers":
        cloud[:3] = torch.tensor([[1e18, 0, 0], [0, -3e6, 7], [1e9, 1e9, 1e9]])
    if shape == "clusters":
        cloud = cloud * 1e-3 + torch.randint(0, 5, (points, 1), generator=generator(1)) ** 4 * 100.0
    queries = torch.cat((cloud[:: max(1, points // 40)], random_cloud(1, 20, seed=1)[0] * 4 - 1))
    for k in (1, 3, 32, 100):
        result = knn(cloud[None].to(device), queries[None].to(device), k)
        assert_same(result, expected(cloud[None], queries[None], k))


@pytest.mark.parametrize("device", DEVICES)
def test_equals_scipy(device: str) -> None:
    cloud, queries = lidar_like_cloud(5000, seed=1), lidar_like_cloud(300, seed=2)
    result = knn(cloud[None].to(device), queries[None].to(device), 8)
    distances, indices = cKDTree(cloud.double().numpy()).query(queries.double().numpy(), 8)
    np.testing.assert_allclose(
        result.squared_distances[0].cpu().double().sqrt().numpy(), distances, rtol=1e-5, atol=1e-6
    )
    assert (result.indices[0].cpu().numpy() == indices).mean() > 0.999  # float32 may swap near-equal neighbours


@pytest.mark.parametrize("device", DEVICES)
def test_packed_equals_dense_per_cloud(device: str) -> None:
    clouds = [random_cloud(1, n, seed=n)[0] for n in (5, 0, 700, 1, 2500)]
    asked = [random_cloud(1, n, seed=50 + n)[0] for n in (3, 4, 0, 9, 600)]
    points, offsets = pack(clouds)
    queries, queries_offsets = pack(asked)
    result = knn(
        points.to(device),
        queries.to(device),
        9,
        points_offsets=offsets.to(device),
        queries_offsets=queries_offsets.to(device),
    )
    for b, (cloud, some) in enumerate(zip(clouds, asked)):
        part = slice(queries_offsets[b], queries_offsets[b + 1])
        distances, indices = knn(cloud[None].to(device), some[None].to(device), 9)
        assert torch.equal(result.squared_distances[part], distances[0])
        assert torch.equal(result.indices[part], torch.where(indices[0] < 0, -1, indices[0] + offsets[b].item()))


@pytest.mark.parametrize("device", DEVICES)
def test_rules_of_padding_and_non_finite_values(device: str) -> None:
    points = torch.tensor([[[0.0, 0, 0], [torch.nan, 0, 0], [2, 0, 0], [torch.inf, 0, 0], [1, 0, 0]]], device=device)
    queries = torch.tensor([[[0.0, 0, 0], [0, torch.nan, 0], [torch.inf, 0, 0]]], device=device)
    distances, indices = knn(points, queries, 4)
    assert indices.tolist() == [[[0, 4, 2, -1], [-1] * 4, [-1] * 4]]
    assert distances.tolist() == [[[0, 1, 4, torch.inf], [torch.inf] * 4, [torch.inf] * 4]]


@pytest.mark.parametrize("device", DEVICES)
def test_ties_go_to_the_lower_index(device: str) -> None:
    cloud = torch.zeros(1, 4000, 3, device=device)
    cloud[0, 2000:] = 1.0
    cloud[0, 1234] = 0.5
    result = knn(cloud, torch.tensor([[[0.0, 0, 0], [1, 1, 1]]], device=device), 4)
    assert result.indices.tolist() == [[[0, 1, 2, 3], [2000, 2001, 2002, 2003]]]


def test_many_duplicates_stay_fast() -> None:
    """A cloud padded with copies of one point must not fall back to comparing all pairs."""
    cloud = torch.cat((torch.zeros(60000, 3), random_cloud(1, 60000)[0]))[None]
    queries = cloud[:, ::60]
    distances, indices = knn(cloud, queries, 16)
    assert torch.equal(indices[0, :1000], torch.arange(16).expand(1000, 16))
    assert (distances[0, :1000] == 0).all()


def test_threads_do_not_change_the_result() -> None:
    cloud = lidar_like_cloud(20000)[None]
    torch.set_num_threads(1)
    one = knn(cloud, cloud[:, ::7], 20)
    torch.set_num_threads(3)
    assert_same(knn(cloud, cloud[:, ::7], 20), one)


@pytest.mark.parametrize("seed", range(30))
def test_fuzz(seed: int) -> None:
    g = generator(seed)
    batch, points, asked, k = (
        int(torch.randint(low, high, (), generator=g)) for low, high in ((0, 4), (0, 1500), (0, 80), (1, 129))
    )
    scale = 10.0 ** torch.randint(-6, 7, (), generator=g)
    steps = int(torch.randint(2, 40, (), generator=g))  # coarse coordinates make many ties
    cloud = (torch.rand(batch, points, 3, generator=g) * steps).round() * scale
    queries = (torch.rand(batch, asked, 3, generator=g) * steps).round() * scale
    assert_same(knn(cloud, queries, k), expected(cloud, queries, k))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("points", [60, 900])
def test_gradients_equal_autograd_in_float64(points: int, device: str) -> None:
    cloud, queries = random_cloud(2, points, seed=3), random_cloud(2, 40, seed=4)
    weight = torch.rand(2, 40, 5, generator=generator(5))
    ours = [x.clone().to(device).requires_grad_() for x in (cloud, queries)]
    (knn(*ours, 5).squared_distances * weight.to(device)).sum().backward()
    exact = [x.double().requires_grad_() for x in (cloud, queries)]
    (expected(*exact, 5)[0] * weight.double()).sum().backward()
    for mine, theirs in zip(ours, exact):
        torch.testing.assert_close(mine.grad.cpu().double(), theirs.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_of_packed_and_padded_clouds(device: str) -> None:
    points, offsets = pack([random_cloud(1, 3)[0], random_cloud(1, 50, seed=1)[0]])
    points[1] = torch.nan
    points, offsets = points.to(device).requires_grad_(), offsets.to(device)
    distances, indices = knn(points, k=4, points_offsets=offsets)
    distances[indices >= 0].sum().backward()
    rows, valid = indices.clamp(min=0), indices >= 0
    difference = torch.where(valid[..., None], points.detach()[:, None] - points.detach()[rows], 0.0)
    wanted = (2 * difference).sum(1).index_add(0, rows[valid], -2 * difference[valid])
    torch.testing.assert_close(points.grad, wanted)


def test_backward_is_the_same_for_any_number_of_threads() -> None:
    points, queries = lidar_like_cloud(3000)[None], lidar_like_cloud(2000, seed=1)[None]
    grads = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        leaf = points.clone().requires_grad_()
        knn(leaf, queries, 12).squared_distances.sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


@pytest.mark.parametrize("device", DEVICES)
def test_registration(device: str) -> None:
    points = random_cloud(2, 40).to(device).requires_grad_()
    queries = random_cloud(2, 6, seed=1).to(device).requires_grad_()
    offsets = torch.tensor([0, 10, 40], device=device)
    check_op(torch.ops.mae3d.knn.default, (points, queries, None, None, 3))
    packed = (points[0].detach().requires_grad_(), queries[0].detach(), offsets, torch.tensor([0, 2, 6], device=device))
    check_op(torch.ops.mae3d.knn.default, (*packed, 3))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles(device: str) -> None:
    points = random_cloud(2, 100).to(device)
    check_compiles(lambda x: knn(x, x[:, ::5], 4), points)
    offsets = torch.tensor([0, 30, 100], device=device)
    check_compiles(lambda x: knn(x, k=4, points_offsets=offsets), points[0])


def test_half_precision_is_searched_in_float32() -> None:
    cloud = random_cloud(1, 300)
    for dtype in (torch.float16, torch.bfloat16):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            result = knn(cloud.to(dtype), k=6)
        assert_same(result, knn(cloud.to(dtype).float(), k=6))


def test_three_nn_is_knn_of_three() -> None:
    points, queries = random_cloud(2, 80), random_cloud(2, 9, seed=1)
    assert_same(three_nn(queries, points), knn(points, queries, 3))


def test_backward_reference_equals_kernel() -> None:
    points, queries = random_cloud(2, 30), random_cloud(2, 12, seed=1)
    indices = knn(points, queries, 5).indices
    indices[0, 0, 3:] = -1
    grad = torch.rand(2, 12, 5, generator=generator(2))
    args = (grad, points, queries, indices)
    for ours, theirs in zip(torch.ops.mae3d.knn_backward(*args), reference.knn_backward(*args)):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.rand(3, 3)}, r"'points' must have shape \[\*, \*, 3\], got \[3, 3\]"),
        ({"points": torch.rand(1, 4, 3, dtype=torch.float64)}, "'points' must have dtype float32"),
        ({"queries": torch.rand(2, 4, 3)}, "must hold as many clouds, got 1 and 2"),
        ({"queries": torch.rand(1, 4, 2)}, "'queries' must have shape"),
        ({"k": 0}, r"'k' must be in \[1, 128\], got 0"),
        ({"k": 129}, r"'k' must be in \[1, 128\], got 129"),
        ({"queries_offsets": torch.tensor([0, 4])}, "'points_offsets' is missing"),
    ],
)
def test_wrong_arguments_are_named(change: dict, message: str) -> None:
    arguments = {"points": torch.rand(1, 4, 3), "queries": torch.rand(1, 4, 3), "k": 2} | change
    with pytest.raises(OperatorInputError, match=message):
        knn(**arguments)


def test_wrong_offsets_are_named() -> None:
    points = torch.rand(6, 3)
    with pytest.raises(OperatorInputError, match=r"'points_offsets' must end with the number of rows 6, got 5"):
        knn(points, k=1, points_offsets=torch.tensor([0, 5]))
    with pytest.raises(OperatorInputError, match="as many clouds, got 1 and 2"):
        knn(points, points, 1, points_offsets=torch.tensor([0, 6]), queries_offsets=torch.tensor([0, 1, 6]))
    with pytest.raises(OperatorInputError, match="'queries_offsets' was given without 'queries'"):
        knn(points, k=1, points_offsets=torch.tensor([0, 6]), queries_offsets=torch.tensor([0, 6]))


def test_kernel_checks_its_arguments_itself() -> None:
    op, cloud = torch.ops.mae3d.knn, torch.rand(2, 5, 3)
    for args in (
        (cloud, cloud[:1], None, None, 2),
        (cloud.double(), cloud, None, None, 2),
        (cloud, cloud, None, None, 0),
        (cloud, cloud, torch.tensor([0, 5]), None, 2),
        (cloud[0], cloud[0], torch.tensor([0, 4]), torch.tensor([0, 5]), 2),
        (cloud[0], cloud[0], torch.tensor([0, 7, 5]), torch.tensor([0, 2, 5]), 2),
    ):
        with pytest.raises(RuntimeError, match="knn: "):
            op(*args)
