"""knn and ball_query on a CUDA device, clouds large enough to be indexed there, equal to the kernels of the CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mae3d.ops import ball_query, knn
from tests.ops.harness import generator, lidar_like_cloud, pack, random_cloud

pytestmark = pytest.mark.gpu
SIZE = 20_000  # 4e8 pairs: far above what brute force is used for


def shaped(kind: str, size: int = SIZE) -> Tensor:
    """One cloud [N, 3]."""
    cloud = lidar_like_cloud(size) if kind == "lidar" else random_cloud(1, size, scale=2.0, shift=-1.0)[0]
    if kind == "plane":
        cloud[:, 1] = 3.0
    if kind == "outliers":
        cloud[:3] = torch.tensor([[1e18, 0, 0], [0, -3e6, 7], [1e9, 1e9, 1e9]])
    if kind == "clusters":
        cloud = cloud * 1e-3 + torch.randint(0, 5, (size, 1), generator=generator(1)) ** 4 * 100.0
    if kind == "duplicates":
        cloud = cloud[torch.randint(0, size // 50, (size,), generator=generator(2))]
    if kind == "not finite":
        cloud[::7, 1] = torch.nan
        cloud[::11, 0] = torch.inf
    if kind == "all equal":
        cloud[:] = 0.25
    return cloud


KINDS = ["uniform", "lidar", "plane", "outliers", "clusters", "duplicates", "not finite", "all equal"]


def assert_same(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a.cpu(), b)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 20, 48, 128])
def test_neighbours_of_a_cloud_in_itself(kind: str, k: int) -> None:
    cloud = shaped(kind)
    assert_same(knn(cloud[None].cuda(), k=k), knn(cloud[None], k=k))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["first", "nearest"])
def test_balls(kind: str, mode: str) -> None:
    cloud = shaped(kind)[None]
    queries = torch.cat((cloud[:, :7000], random_cloud(1, 3000, seed=1) * 4 - 1), dim=1)
    radius = 1.0 if kind == "lidar" else 0.15
    for k in (5, 40):
        assert_same(ball_query(cloud.cuda(), queries.cuda(), radius, k, mode=mode),
                    ball_query(cloud, queries, radius, k, mode=mode))  # fmt: skip


def test_packed_clouds_of_different_sizes() -> None:
    points, offsets = pack(
        [shaped("lidar", 30_000), shaped("uniform", 0), shaped("uniform", 5), shaped("plane", 12_001)]
    )
    ours = knn(points.cuda(), k=9, points_offsets=offsets.cuda())
    assert_same(ours, knn(points, k=9, points_offsets=offsets))


def test_queries_far_away_and_not_finite() -> None:
    cloud = shaped("lidar")[None]
    queries = random_cloud(1, SIZE, seed=3) * 200 - 100
    queries[0, ::5] *= 1e6
    queries[0, 1::9] = torch.nan
    queries[0, 2::9, 0] = torch.inf
    assert_same(knn(cloud.cuda(), queries.cuda(), 33), knn(cloud, queries, 33))
