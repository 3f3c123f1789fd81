"""Voxelisation against a dictionary, torch.unique, spconv's published rule and closed forms."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops.reference import voxelize as reference
from mae3d.ops.voxelize import grid_shape, voxelize, voxelize_hard
from tests.ops.harness import DEVICES, check_op, generator, hard_clouds, lidar_like_cloud, pack

RANGE = (-40.0, -40.0, -3.0, 40.0, 40.0, 3.0)
SIZE = (0.5, 0.4, 0.25)


def cells_by_dictionary(points: np.ndarray, size, limits, clamp: bool) -> list[tuple[int, int, int] | None]:
    """(z, y, x) per point in plain Python on float32 scalars; None where dropped."""
    shape = [round((limits[a + 3] - limits[a]) / size[a]) for a in range(3)]
    cells: list[tuple[int, int, int] | None] = []
    for p in points.astype(np.float32):
        if not np.isfinite(p[:3]).all():
            cells.append(None)
            continue
        with np.errstate(over="ignore"):
            index = [float(np.floor((p[a] - np.float32(limits[a])) / np.float32(size[a]))) for a in range(3)]
        if clamp:
            index = [min(max(i, 0.0), n - 1.0) for i, n in zip(index, shape)]
        inside = all(0 <= i < n for i, n in zip(index, shape))
        cells.append((int(index[2]), int(index[1]), int(index[0])) if inside else None)
    return cells


def dictionary_voxels(clouds: list[np.ndarray], size, limits, clamp: bool, ordered: bool):
    """Coordinates, point map, counts and offsets by a dictionary."""
    numbers: dict[tuple[int, ...], int] = {}
    keys = []
    for b, cloud in enumerate(clouds):
        for cell in cells_by_dictionary(cloud, size, limits, clamp):
            key = None if cell is None else (b, *cell)
            keys.append(key)
            if key is not None:
                numbers.setdefault(key, len(numbers))
    listed = sorted(numbers) if ordered else list(numbers)
    number = {key: i for i, key in enumerate(listed)}
    to_voxel = [-1 if key is None else number[key] for key in keys]
    counts = [0] * len(listed)
    for v in to_voxel:
        if v >= 0:
            counts[v] += 1
    offsets = [sum(key[0] < b for key in listed) for b in range(len(clouds) + 1)]
    return listed, to_voxel, counts, offsets


def batch(seed: int = 0, sizes=(700, 0, 1, 1300)) -> tuple[Tensor, Tensor]:
    clouds = [lidar_like_cloud(n, seed + i) for i, n in enumerate(sizes)]
    points, offsets = pack(clouds)
    return torch.cat((points, torch.rand(len(points), 2, generator=generator(seed))), 1), offsets


def split(points: Tensor, offsets: Tensor) -> list[np.ndarray]:
    return [points[a:b].numpy() for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist())]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("policy", ["drop", "clamp"])
@pytest.mark.parametrize("order", ["sorted", "first"])
def test_equals_dictionary(device: str, policy: str, order: str) -> None:
    points, offsets = batch()
    got = voxelize(points.to(device), SIZE, RANGE, offsets=offsets.to(device), policy=policy, order=order)
    listed, to_voxel, counts, starts = dictionary_voxels(
        split(points, offsets), SIZE, RANGE, policy == "clamp", order == "sorted"
    )
    assert [tuple(row) for row in got.coordinates.tolist()] == listed
    assert got.point_to_voxel.tolist() == to_voxel
    assert got.counts.tolist() == counts
    assert got.offsets.tolist() == starts


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", list(hard_clouds()))
@pytest.mark.parametrize("policy", ["drop", "clamp"])
def test_hard_clouds(device: str, name: str, policy: str) -> None:
    cloud = hard_clouds()[name]
    limits, size = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0), (0.25, 0.5, 0.125)
    got = voxelize(cloud.to(device), size, limits, policy=policy)
    listed, to_voxel, counts, _ = dictionary_voxels([cloud.numpy()], size, limits, policy == "clamp", True)
    assert [tuple(row) for row in got.coordinates.tolist()] == listed
    assert (got.point_to_voxel.tolist(), got.counts.tolist()) == (to_voxel, counts)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(6))
def test_kernel_equals_reference_fuzz(device: str, seed: int) -> None:
    rng = random.Random(seed)
    sizes = [rng.choice([0, 1, 5, 333, 20000, 40000]) for _ in range(rng.randint(0, 4))]
    points, offsets = batch(seed, sizes) if sizes else (torch.zeros(0, 3), torch.zeros(1, dtype=torch.int64))
    size = [rng.uniform(0.05, 4.0) for _ in range(3)]
    grid = list(grid_shape("test", size, RANGE))
    low = list(RANGE[:3])
    points, offsets = points.to(device), offsets.to(device)
    for clamp in (False, True):
        for ordered in (False, True):
            args = (points, offsets, size, low, grid, clamp, ordered)
            for a, b in zip(torch.ops.mae3d.voxelize(*args), reference.voxelize(*args), strict=True):
                assert torch.equal(a, b)
    args = (points, offsets, size, low, grid, rng.randint(1, 6), rng.choice([1, 7, 10**6]))
    for a, b in zip(torch.ops.mae3d.voxelize_hard(*args), reference.voxelize_hard(*args), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("device", DEVICES)
def test_hard_first_come_rule(device: str) -> None:
    points, offsets = batch(3, (600, 900))
    cap, limit = 3, 150
    got = voxelize_hard(
        points.to(device),
        (2.0, 2.0, 3.0),
        RANGE,
        max_points_per_voxel=cap,
        max_voxels=limit,
        offsets=offsets.to(device),
    )
    rows: list[list[Tensor]] = []
    keys: list[tuple[int, ...]] = []
    slots, starts = [], [0]
    for b, cloud in enumerate(split(points, offsets)):
        opened: dict[tuple[int, int, int], int] = {}
        for point, cell in zip(cloud, cells_by_dictionary(cloud, (2.0, 2.0, 3.0), RANGE, False)):
            if cell is None or (cell not in opened and len(opened) >= limit):
                slots.append(-1)
                continue
            if cell not in opened:
                opened[cell] = len(rows)
                rows.append([])
                keys.append((b, *cell))
            voxel = opened[cell]
            slots.append(voxel * cap + len(rows[voxel]) if len(rows[voxel]) < cap else -1)
            if slots[-1] >= 0:
                rows[voxel].append(torch.from_numpy(point))
        starts.append(len(rows))
    assert starts[1] == limit  # the cap is really reached
    expected = torch.zeros(len(rows), cap, points.shape[1])
    for v, members in enumerate(rows):
        expected[v, : len(members)] = torch.stack(members)
    assert torch.equal(got.voxels.cpu(), expected)
    assert [tuple(row) for row in got.coordinates.tolist()] == keys
    assert got.counts.tolist() == [len(r) for r in rows]
    assert got.point_to_slot.tolist() == slots
    assert got.offsets.tolist() == starts


def test_hard_without_caps_equals_dynamic() -> None:
    points, offsets = batch(5)
    soft = voxelize(points, SIZE, RANGE, offsets=offsets, order="first")
    cap = int(soft.counts.max())
    hard = voxelize_hard(points, SIZE, RANGE, max_points_per_voxel=cap, max_voxels=10**6, offsets=offsets)
    assert torch.equal(soft.coordinates, hard.coordinates)
    assert torch.equal(soft.counts, hard.counts)
    assert torch.equal(soft.point_to_voxel, hard.point_to_slot.div(cap, rounding_mode="floor"))


def test_dense_equals_packed_and_separate_clouds() -> None:
    dense = torch.stack([lidar_like_cloud(500, seed) for seed in range(3)])
    got = voxelize(dense, SIZE, RANGE)
    assert got.point_to_voxel.shape == (3, 500)
    for b in range(3):
        alone = voxelize(dense[b], SIZE, RANGE)
        begin, end = got.offsets[b : b + 2].tolist()
        assert torch.equal(got.coordinates[begin:end, 1:], alone.coordinates[:, 1:])
        shifted = torch.where(got.point_to_voxel[b] < 0, -1, got.point_to_voxel[b] - begin)
        assert torch.equal(shifted, alone.point_to_voxel)


def test_pillars_have_one_cell_in_z() -> None:
    got = voxelize(lidar_like_cloud(2000), (0.5, 0.5, 6.0), RANGE)
    assert int(got.coordinates[:, 1].abs().max()) == 0
    assert int(got.counts.sum()) == int((got.point_to_voxel >= 0).sum())


@pytest.mark.parametrize("device", DEVICES)
def test_beyond_two_to_the_31_cells(device: str) -> None:
    limits = (-1000.0, -1000.0, -1000.0, 1000.0, 1000.0, 1000.0)
    points = (torch.rand(5000, 3, generator=generator(1)) - 0.5) * 2000
    got = voxelize(points.to(device), (0.01, 0.01, 0.01), limits)
    exact = ((points - -1000.0) / torch.tensor(0.01)).floor().long().flip(1)
    kept = (exact < 200000).all(1)
    assert torch.equal(got.coordinates[got.point_to_voxel[kept.to(device)], 1:].cpu(), exact[kept])
    assert torch.equal(got.coordinates[:, 1:].cpu(), exact[kept].unique(dim=0))


def test_result_does_not_depend_on_threads() -> None:
    points = lidar_like_cloud(60000)
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(
            (
                *voxelize(points, SIZE, RANGE, order="first"),
                *voxelize(points, SIZE, RANGE),
                *voxelize_hard(points, SIZE, RANGE, max_points_per_voxel=2, max_voxels=999),
            )
        )
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_adversarial_keys_do_not_lose_voxels() -> None:
    # One point per cell along one axis, descending, with a power-of-two stride: a weak hash would collide.
    line = torch.zeros(50000, 3)
    line[:, 1] = torch.arange(50000.0).flip(0) + 0.5
    got = voxelize(line, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 65536.0, 65536.0, 1.0))
    assert torch.equal(got.coordinates[:, 2], torch.arange(50000))
    assert torch.equal(got.point_to_voxel, torch.arange(50000).flip(0))


def test_cells_whose_hashes_agree_in_all_stored_bits_stay_apart() -> None:
    # The CPU table stores part of a 64-bit hash that can be undone: build pairs of keys that differ only elsewhere.
    word, shape = 2**64 - 1, (2**21, 2**21, 2**20)

    def key_of_hash(value: int) -> int:
        value = value * pow(0xBF58476D1CE4E5B9, -1, 2**64) & word
        value ^= value >> 29 ^ value >> 58
        value = value * pow(0x9E3779B97F4A7C15, -1, 2**64) & word
        return value ^ value >> 32

    rng, keys = random.Random(0), []
    while len(keys) < 40:
        value = rng.getrandbits(64)
        pair = [key_of_hash(value), key_of_hash(value ^ 1 << 33)]
        if max(pair) < 2**62:
            keys += pair
    cells = [(k % shape[0], k // shape[0] % shape[1], k // shape[0] // shape[1]) for k in keys]
    points = torch.tensor(cells, dtype=torch.float32) + 0.5
    got = voxelize(points, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0, *map(float, shape)), order="first")
    assert got.point_to_voxel.tolist() == list(range(40))


def test_half_points_are_cast_up() -> None:
    points = lidar_like_cloud(300).bfloat16()
    assert torch.equal(voxelize(points, SIZE, RANGE).coordinates, voxelize(points.float(), SIZE, RANGE).coordinates)


def test_hard_gradient_reaches_exactly_the_kept_points() -> None:
    points, offsets = batch(2, (300, 200))
    points.requires_grad_()
    got = voxelize_hard(points, (4.0, 4.0, 6.0), RANGE, max_points_per_voxel=2, max_voxels=60, offsets=offsets)
    weight = torch.rand(got.voxels.shape, generator=generator(0))
    (got.voxels * weight).sum().backward()
    expected = torch.zeros_like(points)
    kept = got.point_to_slot >= 0
    expected[kept] = weight.flatten(0, 1)[got.point_to_slot[kept]]
    assert torch.equal(points.grad, expected)


def test_opcheck() -> None:
    points, offsets = batch(0, (60, 40))
    low, grid, size = list(RANGE[:3]), list(grid_shape("test", SIZE, RANGE)), list(SIZE)
    check_op(torch.ops.mae3d.voxelize.default, (points, offsets, size, low, grid, False, True))
    check_op(torch.ops.mae3d.voxelize_hard.default, (points.requires_grad_(), offsets, size, low, grid, 3, 50))


def test_compiles_without_graph_break() -> None:
    def pooled(points: Tensor) -> Tensor:
        voxels = voxelize(points, SIZE, RANGE)
        hard = voxelize_hard(points, SIZE, RANGE, max_points_per_voxel=4, max_voxels=1000)
        return voxels.counts.sum() + hard.voxels.sum()

    torch.compiler.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(pooled, fullgraph=True, backend="aot_eager", dynamic=True)
        for count in (400, 900):
            dense = torch.stack([lidar_like_cloud(count, seed) for seed in range(2)])
            torch.testing.assert_close(compiled(dense), pooled(dense))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"voxel_size": (0.5, 0.0, 0.5)}, "'voxel_size' must be positive"),
        ({"voxel_size": (0.5, math.nan, 0.5)}, "'voxel_size' must be positive"),
        ({"point_range": (0, 0, 0, 1, 0, 1)}, "'point_range' must rise on axis y"),
        ({"point_range": (0, 0, 0)}, "'point_range' must be"),
        ({"voxel_size": (1e-6, 1, 1)}, "1 to 2\\^24 cells on axis x"),
        ({"voxel_size": (1e-5, 1e-5, 1e-6), "point_range": (0, 0, 0, 160, 160, 16)}, "do not fit in 63-bit keys"),
        ({"policy": "wrap"}, "'policy' must be"),
        ({"order": "random"}, "'order' must be"),
        ({"points": torch.zeros(4, 2)}, "at least 3 columns"),
        ({"points": torch.zeros(4, 3, dtype=torch.float64)}, "dtype float32"),
        ({"points": torch.zeros(4)}, "'points' must have shape"),
        ({"offsets": torch.tensor([0, 3])}, "must end with the number of rows"),
        ({"offsets": torch.tensor([0, 5, 4])}, "never fall"),
    ],
)
def test_wrong_arguments(change: dict, message: str) -> None:
    arguments = {"points": torch.zeros(4, 3), "voxel_size": SIZE, "point_range": RANGE} | change
    with pytest.raises(OperatorInputError, match=message):
        voxelize(**arguments)


def test_kernels_check_by_themselves() -> None:
    points, offsets, grid = torch.zeros(4, 3), torch.tensor([0, 4]), [4, 4, 4]
    for bad in (
        (points.double(), offsets, [1.0] * 3, [0.0] * 3, grid, False, True),
        (points, torch.tensor([0, 9]), [1.0] * 3, [0.0] * 3, grid, False, True),
        (points, offsets, [1.0] * 2, [0.0] * 3, grid, False, True),
        (points, offsets, [0.0] * 3, [0.0] * 3, grid, False, True),
        (points, offsets, [1.0] * 3, [math.nan] * 3, grid, False, True),
        (points, offsets, [1.0] * 3, [0.0] * 3, [2**24] * 3, False, True),
        (points, offsets, [1.0] * 3, [0.0] * 3, [0, 4, 4], False, True),
    ):
        with pytest.raises(RuntimeError, match="voxelize: "):
            torch.ops.mae3d.voxelize(*bad)
    with pytest.raises(OperatorInputError, match="max_voxels"):
        voxelize_hard(points, SIZE, RANGE, max_points_per_voxel=3, max_voxels=0)
