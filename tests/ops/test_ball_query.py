"""ball_query against brute force, scipy and the rules of its contract."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops.ball_query import ball_query
from mae3d.ops.knn import knn
from mae3d.ops.reference import ball_query as reference
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
OPTIONS = list(itertools.product(("first", "nearest"), ("pad", "repeat_first")))


def assert_equals_brute_force(points: Tensor, queries: Tensor, radius: float, k: int, device: str = "cpu") -> None:
    for mode, fill in OPTIONS:
        result = ball_query(points.to(device), queries.to(device), radius, k, mode=mode, fill=fill)
        wanted = reference.ball_query(points, queries, None, None, radius, k, mode == "nearest", fill == "repeat_first")
        for ours, theirs in zip((result.squared_distances, result.indices, result.counts), wanted):
            assert torch.equal(ours.cpu(), theirs)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("times", [1, 13])
def test_hard_clouds_equal_brute_force(name: str, times: int, device: str) -> None:
    cloud = CLOUDS[name]
    cloud = cloud.repeat(times, 1)[None] if len(cloud) else cloud[None]
    for radius, k in ((0.3, 5), (1.0, 32), (torch.inf, 128), (1e-30, 3)):
        assert_equals_brute_force(cloud, cloud[:, :: 3 * times], radius, k, device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("points", [513, 3000, 20000])
@pytest.mark.parametrize("radius", [0.02, 0.8, 30.0])
def test_large_clouds_equal_brute_force(points: int, radius: float, device: str) -> None:
    cloud = lidar_like_cloud(points)[None]
    assert_equals_brute_force(cloud, cloud[:, :: points // 40], radius, 32, device)


@pytest.mark.parametrize("device", DEVICES)
def test_equals_scipy(device: str) -> None:
    cloud, queries = lidar_like_cloud(4000, seed=1), lidar_like_cloud(200, seed=2)
    result = ball_query(cloud[None].to(device), queries[None].to(device), 1.5, 64)
    for row, count, hits in zip(
        result.indices[0].cpu().numpy(),
        result.counts[0].tolist(),
        cKDTree(cloud.double().numpy()).query_ball_point(queries.double().numpy(), 1.5),
    ):
        np.testing.assert_array_equal(row[:count], sorted(hits)[:64])
        assert count == min(64, len(hits))
        assert (row[count:] == -1).all()


@pytest.mark.parametrize("device", DEVICES)
def test_radius_is_strict_and_fill_follows_pointnet2(device: str) -> None:
    points = torch.tensor([[[1.0, 0, 0], [0, 0, 0], [0.5, 0, 0], [9, 9, 9]]], device=device)
    queries = torch.tensor([[[0.0, 0, 0], [5, 5, 5]]], device=device)
    padded = ball_query(points, queries, 1.0, 3)
    assert padded.indices.tolist() == [[[1, 2, -1], [-1, -1, -1]]]
    assert padded.counts.tolist() == [[2, 0]]
    repeated = ball_query(points, queries, 1.0, 3, fill="repeat_first")
    assert repeated.indices.tolist() == [[[1, 2, 1], [-1, -1, -1]]]
    assert repeated.squared_distances.tolist() == [[[0, 0.25, 0], [torch.inf] * 3]]


def test_nearest_in_an_infinite_ball_is_knn() -> None:
    cloud = random_cloud(2, 900)
    ball = ball_query(cloud, None, torch.inf, 20, mode="nearest")
    distances, indices = knn(cloud, k=20)
    assert torch.equal(ball.indices, indices)
    assert torch.equal(ball.squared_distances, distances)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["first", "nearest"])
def test_packed_equals_dense_per_cloud(mode: str, device: str) -> None:
    clouds = [random_cloud(1, n, seed=n)[0] for n in (5, 0, 700, 1, 2500)]
    asked = [random_cloud(1, n, seed=50 + n)[0] for n in (3, 4, 0, 9, 600)]
    points, offsets = pack(clouds)
    queries, queries_offsets = pack(asked)
    result = ball_query(
        points.to(device),
        queries.to(device),
        0.2,
        9,
        mode=mode,
        points_offsets=offsets.to(device),
        queries_offsets=queries_offsets.to(device),
    )
    for b, (cloud, some) in enumerate(zip(clouds, asked)):
        part = slice(queries_offsets[b], queries_offsets[b + 1])
        dense = ball_query(cloud[None].to(device), some[None].to(device), 0.2, 9, mode=mode)
        shifted = torch.where(dense.indices[0] < 0, -1, dense.indices[0] + offsets[b].item())
        assert torch.equal(result.indices[part], shifted)
        assert torch.equal(result.counts[part], dense.counts[0])
        assert torch.equal(result.squared_distances[part], dense.squared_distances[0])


@pytest.mark.parametrize("seed", range(20))
def test_fuzz(seed: int) -> None:
    g = generator(seed)
    batch, points, asked, k = (
        int(torch.randint(low, high, (), generator=g)) for low, high in ((0, 4), (0, 1500), (0, 60), (1, 129))
    )
    steps = int(torch.randint(2, 30, (), generator=g))  # coarse coordinates make ties and points at the radius
    cloud = (torch.rand(batch, points, 3, generator=g) * steps).round()
    queries = (torch.rand(batch, asked, 3, generator=g) * steps).round()
    assert_equals_brute_force(cloud, queries, float(torch.randint(1, 12, (), generator=g)), k)


@pytest.mark.parametrize("device", DEVICES)
def test_gradients_equal_autograd_in_float64(device: str) -> None:
    cloud, queries = random_cloud(2, 200, seed=3), random_cloud(2, 40, seed=4)
    ours = [x.clone().to(device).requires_grad_() for x in (cloud, queries)]
    result = ball_query(*ours, 0.3, 6, mode="nearest", fill="repeat_first")
    found = (result.indices >= 0).cpu()
    result.squared_distances[found.to(device)].square().sum().backward()
    exact = [x.double().requires_grad_() for x in (cloud, queries)]
    rows = result.indices.cpu().clamp(min=0) + torch.tensor([0, 200])[:, None, None]
    distances = (exact[1][:, :, None] - exact[0].reshape(-1, 3)[rows]).square().sum(-1)
    distances[found].square().sum().backward()
    for mine, theirs in zip(ours, exact):
        torch.testing.assert_close(mine.grad.cpu().double(), theirs.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_registration(device: str) -> None:
    points = random_cloud(2, 40).to(device).requires_grad_()
    queries = random_cloud(2, 6, seed=1).to(device).requires_grad_()
    check_op(torch.ops.mae3d.ball_query.default, (points, queries, None, None, 2.0, 3, True, True))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles(device: str) -> None:
    check_compiles(lambda x: ball_query(x, x[:, ::5], 0.4, 4), random_cloud(2, 100).to(device))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"radius": 0.0}, "'radius' must be positive, got 0.0"),
        ({"radius": torch.nan}, "'radius' must be positive, got nan"),
        ({"k": 129}, r"'k' must be in \[1, 128\], got 129"),
        ({"mode": "best"}, "'mode' must be 'first' or 'nearest', got 'best'"),
        ({"fill": "zero"}, "'fill' must be 'pad' or 'repeat_first', got 'zero'"),
        ({"points": torch.rand(4, 3)}, "'points' must have shape"),
    ],
)
def test_wrong_arguments_are_named(change: dict, message: str) -> None:
    arguments = {"points": torch.rand(1, 4, 3), "queries": None, "radius": 1.0, "k": 2} | change
    with pytest.raises(OperatorInputError, match=message):
        ball_query(**arguments)


def test_kernel_checks_its_arguments_itself() -> None:
    cloud = torch.rand(2, 5, 3)
    for radius, k in ((-1.0, 2), (float("nan"), 2), (1.0, 0)):
        with pytest.raises(RuntimeError, match="ball_query: "):
            torch.ops.mae3d.ball_query(cloud, cloud, None, None, radius, k, False, False)
