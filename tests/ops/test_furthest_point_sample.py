"""Farthest point sampling against a float64-free brute force in numpy, and its documented corner cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import furthest_point_sample, furthest_point_sample_packed
from mae3d.ops._library import OPERATORS
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

CLOUDS = {
    **hard_clouds(),
    "lattice": torch.cartesian_prod(*[torch.arange(16.0)] * 3),
    "lidar": lidar_like_cloud(6000),
    "few places": torch.randint(0, 3, (3000, 3), generator=generator(1)).float(),
    "skewed": random_cloud(1, 5000)[0] ** 8,
    "mostly one point": torch.cat((torch.ones(4000, 3), random_cloud(1, 500)[0])),
    "infinitely far apart": random_cloud(1, 3000)[0] * 3e38,
}


def brute_force(points: Tensor, samples: int, start: int = 0, skip: float | None = None) -> list[int]:
    """One loop over samples in numpy float32, written from the definition."""
    p = points.cpu().numpy().astype(np.float32)
    with np.errstate(all="ignore"):
        norm = p[:, 0] * p[:, 0] + p[:, 1] * p[:, 1] + p[:, 2] * p[:, 2]
        allowed = np.isfinite(p).all(1)
        if skip is not None:
            allowed &= ~(norm.astype(np.float64) <= skip)
        nearest = np.where(allowed, np.float32(np.inf), np.float32(-1))
        picks = [start]
        while len(picks) < samples:
            d = (p - p[picks[-1]]) ** 2
            nearest = np.fmin(nearest, (d[:, 0] + d[:, 1]) + d[:, 2])
            picks.append(int(nearest.argmax()) if nearest.max() >= 0 else start)
    return picks


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CLOUDS)
@pytest.mark.parametrize("skip", [None, 1e-3, 0.3])
def test_every_pick_equals_brute_force(name: str, skip: float | None, device: str) -> None:
    cloud = CLOUDS[name]
    if len(cloud) == 0:
        return
    for samples in {1, (len(cloud) + 1) // 2, min(len(cloud), 600)}:
        for start in (0, len(cloud) - 1):
            picks = furthest_point_sample(cloud[None].to(device), samples, start=start, skip_near_origin=skip)
            assert picks[0].tolist() == brute_force(cloud, samples, start, skip)


@pytest.mark.parametrize("seed", range(20))
def test_random_shapes_equal_reference(seed: int) -> None:
    g = generator(seed)
    batch, count = (int(torch.randint(1, high, (1,), generator=g)) for high in (5, 6000))
    samples = int(torch.randint(1, min(count, 700) + 1, (1,), generator=g))
    points = torch.randn(batch, count, 3, generator=g)
    if seed % 2:
        points = (points * 8).round() / 8  # ties
    start = torch.randint(0, count, (batch,), generator=g)
    expected = OPERATORS["furthest_point_sample"](points, samples, start, -1.0)
    assert torch.equal(furthest_point_sample(points, samples, start=start), expected)


def test_greedy_property_in_float64() -> None:
    """Each pick is an arg-max of the distance to the picks before it."""
    cloud = random_cloud(1, 3000)[0]
    picks = furthest_point_sample(cloud[None], 400)[0]
    distance = torch.cdist(cloud.double(), cloud[picks].double())
    for s in range(1, 400):
        nearest = distance[:, :s].amin(1)
        assert nearest[picks[s]] >= nearest.max() - 1e-6


def test_skip_exhausts_into_repeated_picks() -> None:
    """With too few candidates the first one repeats, as in pointnet2_ops; points at the origin never come."""
    cloud = torch.tensor([[[0.01, 0.0, 0.0], [0.0, 0.02, 0.0], [1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
    assert furthest_point_sample(cloud, 6, skip_near_origin=1e-3).tolist() == [[0, 3, 2, 2, 2, 2]]
    near = cloud * 1e-3
    assert furthest_point_sample(near, 3, start=1, skip_near_origin=1e-3).tolist() == [[1, 1, 1]]


def test_skip_threshold_compares_as_in_double() -> None:
    """float32(1e-3) is above 1e-3, so a norm of exactly that stays a candidate."""
    edge = torch.tensor(1e-3).sqrt().item()
    cloud = torch.tensor([[[1.0, 1.0, 1.0], [edge, 0.0, 0.0]]])
    norm = (cloud[0, 1, 0] * cloud[0, 1, 0]).double().item()
    expected = 0 if norm <= 1e-3 else 1
    assert furthest_point_sample(cloud, 2, skip_near_origin=1e-3)[0, 1].item() == expected


def test_packed_equals_dense_per_cloud() -> None:
    clouds = [CLOUDS[n] for n in ("lidar", "single", "lattice", "with nan", "empty", "duplicates")]
    points, offsets = pack(clouds)
    counts = torch.tensor([900, 1, 300, 40, 0, 97])
    start = torch.tensor([5, 0, 77, 3, 0, 96])
    picks = furthest_point_sample_packed(points, offsets, counts, start=start)
    assert picks.offsets.tolist() == [0, *counts.cumsum(0).tolist()]
    for b, cloud in enumerate(clouds):
        if len(cloud) == 0:
            continue
        rows = picks.indices[picks.offsets[b] : picks.offsets[b + 1]] - offsets[b]
        assert torch.equal(rows, furthest_point_sample(cloud[None], int(counts[b]), start=int(start[b]))[0])
    known = furthest_point_sample_packed(points, offsets, counts, start=start, total_samples=1338)
    assert torch.equal(known.indices, picks.indices)


def test_packed_reference_equals_kernel() -> None:
    points, offsets = pack([random_cloud(1, n, seed=n)[0] for n in (40, 1, 3000)])
    args = (points, offsets, torch.tensor([0, 7, 8, 500]), 500, torch.tensor([3, 0, 9]), -1.0)
    kernel = torch.ops.mae3d.furthest_point_sample_packed(*args)
    assert torch.equal(kernel, OPERATORS["furthest_point_sample_packed"](*args))


def test_random_start_is_seeded_and_inside() -> None:
    cloud = random_cloud(64, 10)
    first = furthest_point_sample(cloud, 1, start="random", generator=generator(3))
    assert torch.equal(first, furthest_point_sample(cloud, 1, start="random", generator=generator(3)))
    assert first.min() >= 0
    assert first.max() < 10
    assert len(first.unique()) > 5
    points, offsets = pack([random_cloud(1, n)[0] for n in (3, 0, 50)])
    picks = furthest_point_sample_packed(points, offsets, torch.tensor([1, 0, 1]), start="random")
    assert 0 <= picks.indices[0] < 3 <= picks.indices[1] < 53


def test_threads_do_not_change_the_picks() -> None:
    cloud = torch.stack([lidar_like_cloud(40000, seed) for seed in range(2)])
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append((furthest_point_sample(cloud, 500), furthest_point_sample(cloud[:1], 500)))
    assert all(torch.equal(a, b) for result in results[1:] for a, b in zip(result, results[0]))


def test_dtypes_strides_and_gradients() -> None:
    cloud = random_cloud(2, 3000)
    picks = furthest_point_sample(cloud, 300)
    assert torch.equal(furthest_point_sample(cloud.double(), 300), picks)
    wide = torch.cat((cloud, cloud), dim=-1)[..., :3]
    assert torch.equal(furthest_point_sample(wide, 300), picks)
    half = furthest_point_sample(cloud.half().requires_grad_(), 300)
    assert torch.equal(half, furthest_point_sample(cloud.half().float(), 300))
    assert not half.requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(furthest_point_sample(cloud, 300), picks)


def test_nothing_asked_gives_nothing() -> None:
    assert furthest_point_sample(torch.zeros(2, 0, 3), 0).shape == (2, 0)
    assert furthest_point_sample(torch.zeros(0, 5, 3), 2).shape == (0, 2)
    assert furthest_point_sample(torch.zeros(2, 5, 3), 0).shape == (2, 0)
    empty = furthest_point_sample_packed(torch.zeros(0, 3), torch.zeros(1, dtype=torch.int64), 4)
    assert empty.indices.shape == (0,)
    assert empty.offsets.tolist() == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: furthest_point_sample(p, 11), "'num_samples' is 11, but every cloud has only 10 points"),
        (lambda p: furthest_point_sample(p, -1), "'num_samples' must be >= 0"),
        (lambda p: furthest_point_sample(p, 3, start=10), r"'start' of cloud 0 must be a row in \[0, 10\), got 10"),
        (lambda p: furthest_point_sample(p, 3, start=torch.tensor([1, -1])), "'start' of cloud 1"),
        (lambda p: furthest_point_sample(p, 3, start=torch.tensor([1.0, 1.0])), "'start' must have dtype int64"),
        (lambda p: furthest_point_sample(p, 3, start="first"), "'start' must be"),
        (lambda p: furthest_point_sample(p[0], 3), "'points' must have shape"),
        (lambda p: furthest_point_sample(p.long(), 3), "'points' must have dtype"),
        (lambda p: furthest_point_sample(p, 3, skip_near_origin=-1.0), "'skip_near_origin' must be >= 0"),
        (lambda p: furthest_point_sample(p[:, :0], 1, skip_near_origin=1e-3), "has only 0 points"),
        (lambda p: furthest_point_sample_packed(p[0], torch.tensor([0, 4, 10]), 5), "cloud 0 has only 4 points"),
        (lambda p: furthest_point_sample_packed(p[0], torch.tensor([0, 4, 9]), 2), "'offsets' must end"),
        (
            lambda p: furthest_point_sample_packed(
                p[0], torch.tensor([0, 4, 10]), torch.tensor([1, 2]), total_samples=4
            ),
            "'total_samples' must be the sum",
        ),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    with pytest.raises(OperatorInputError, match=message):
        call(random_cloud(2, 10))


def test_kernel_checks_its_arguments_itself() -> None:
    op = torch.ops.mae3d.furthest_point_sample
    packed = torch.ops.mae3d.furthest_point_sample_packed
    points, start = random_cloud(1, 10), torch.tensor([0])
    rows = points[0]
    for call in (
        lambda: op(points, 11, start, -1.0),
        lambda: op(points, 3, start + 10, -1.0),
        lambda: op(points, 3, start - 1, -1.0),
        lambda: op(points.double(), 3, start, -1.0),
        lambda: op(points[..., :2], 3, start, -1.0),
        lambda: op(points, 3, start.int(), -1.0),
        lambda: packed(rows, torch.tensor([0, 11]), torch.tensor([0, 3]), 3, start, -1.0),
        lambda: packed(rows, torch.tensor([0, 10]), torch.tensor([0, 3]), 4, start, -1.0),
        lambda: packed(rows, torch.tensor([0, 10]), torch.tensor([0, 11]), 11, start, -1.0),
        lambda: packed(rows, torch.tensor([0, 10]), torch.tensor([0, 3]), 3, start + 10, -1.0),
    ):
        with pytest.raises(RuntimeError, match="furthest_point_sample"):
            call()


def test_opcheck() -> None:
    points, start = random_cloud(2, 50), torch.tensor([0, 3])
    check_op(torch.ops.mae3d.furthest_point_sample.default, (points, 7, start, -1.0))
    offsets = torch.tensor([0, 20, 50])
    packed = torch.ops.mae3d.furthest_point_sample_packed.default
    check_op(packed, (points[0], offsets, torch.tensor([0, 3, 10]), 10, start, -1.0))


def test_compiles_in_one_graph() -> None:
    check_compiles(lambda p: furthest_point_sample(p, 16, skip_near_origin=1e-3), random_cloud(2, 100))
    points, offsets = pack([random_cloud(1, n)[0] for n in (30, 60)])
    check_compiles(lambda p, o: furthest_point_sample_packed(p, o, 16).indices, points, offsets)
    counts = torch.tensor([4, 9])
    check_compiles(
        lambda p, o, c: furthest_point_sample_packed(p, o, c, total_samples=13).indices, points, offsets, counts
    )
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        check_compiles(lambda p, o, c: furthest_point_sample_packed(p, o, c).indices, points, offsets, counts)
