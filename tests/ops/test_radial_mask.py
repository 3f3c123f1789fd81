"""Radial masking against plain Python, the counts on the published code, and its symmetries."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops.radial_mask import BAND_BONUS, radial_mask
from mae3d.ops.reference import radial_mask as reference
from tests.ops.harness import DEVICES, check_op, generator

SIZE, RANGE = (0.5, 0.5, 1.0), (-50.0, -50.0, -2.0, 50.0, 50.0, 2.0)
SENSOR = {"voxel_size": SIZE, "point_range": RANGE}


def scene(count: int = 3000, clouds: int = 2, seed: int = 0) -> Tensor:
    """Distinct voxels of a 200 x 200 x 4 grid, sorted: int64 [V, 4]."""
    g = generator(seed)
    columns = [torch.randint(0, n, (count,), generator=g) for n in (clouds, 4, 200, 200)]
    return torch.stack(columns, 1).unique(dim=0)


def filled_grid(side: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(1), torch.arange(1), torch.arange(side), torch.arange(side))


def place(row: list[int], corner: bool) -> tuple[float, float]:
    """Azimuth in degrees and range of one voxel, in Python floats."""
    if corner:
        x, y = float(row[3]), float(row[2])
        return math.degrees(math.atan2(x, y)) % 360, math.hypot(x, y)
    x, y = row[3] * 0.5 - 49.75, row[2] * 0.5 - 49.75
    return math.degrees(math.atan2(y, x)) % 360, math.hypot(x, y)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["sensor", "corner_index"])
@pytest.mark.parametrize("degrees", [1.0, 5.0, 7.0])
def test_one_stage_keeps_whole_sectors(device: str, mode: str, degrees: float) -> None:
    coordinates = scene()
    corner = mode == "corner_index"
    got = radial_mask(
        coordinates.to(device),
        0.8,
        mode=mode,
        sector_degrees=degrees,
        num_clouds=2,
        seed=3,
        minimum_visible=0,
        **SENSOR,
    )
    kept = got.kept_sectors.cpu()
    assert kept.shape == (1 if corner else 2, math.ceil(360 / degrees))
    expected = []
    present: list[set[int]] = [set() for _ in kept]
    for row in coordinates.tolist():
        sector = int((place(row, corner)[0] + 1e-9) % 360 // degrees)
        group = 0 if corner else row[0]
        present[group].add(sector)
        expected.append(bool(kept[group, sector]))
    want = torch.tensor(expected)
    assert torch.equal(got.visible.cpu(), want.nonzero().squeeze(1))
    assert torch.equal(got.masked.cpu(), (~want).nonzero().squeeze(1))
    for group, sectors in enumerate(present):
        assert int(kept[group].sum()) == min(int((1 - 0.8) * len(sectors)), len(sectors))
        assert {s for s, k in enumerate(kept[group].tolist()) if k} <= sectors


@pytest.mark.parametrize(("ratio", "sectors", "kept"), [(0.8, 90, 17), (0.8, 91, 18), (0.9, 90, 8), (0.9, 91, 9)])
def test_published_counts_with_their_rounding(ratio: float, sectors: int, kept: int) -> None:
    # One voxel in the middle of each of the first `sectors` one-degree sectors, in a fine grid far from the sensor.
    angle = torch.deg2rad(torch.arange(sectors, dtype=torch.float64) + 0.5)
    cells = (torch.stack((angle.sin(), angle.cos()), 1) * 5000).round().long() + 10000
    coordinates = torch.cat((torch.zeros(sectors, 2, dtype=torch.int64), cells), 1)
    limits = (-10000.5, -10000.5, 0.0, 10000.5, 10000.5, 1.0)
    got = radial_mask(coordinates, ratio, voxel_size=(1.0, 1.0, 1.0), point_range=limits, seed=0)
    assert len(got.visible) == int(got.kept_sectors.sum()) == kept


def test_corner_mode_fills_ninety_one_sectors() -> None:
    coordinates = filled_grid(300)
    got = radial_mask(coordinates, 0.0, mode="corner_index")
    assert int(got.kept_sectors.sum()) == 91
    assert int(got.kept_sectors[0, 91:].sum()) == 0
    assert len(got.visible) == len(coordinates)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("mode", ["sensor", "corner_index"])
def test_two_stages_keep_the_published_share_of_each_band(device: str, mode: str) -> None:
    coordinates, ratio, near, middle = scene(20000), 0.7, 20.0, 35.0
    got = radial_mask(
        coordinates.to(device),
        ratio,
        mode=mode,
        sector_degrees=10.0,
        range_bands=(near, middle),
        num_clouds=2,
        seed=1,
        **SENSOR,
    )
    corner = mode == "corner_index"
    kept = got.kept_sectors.cpu()
    found: dict[tuple[int, int, int], int] = {}
    stayed: dict[tuple[int, int, int], int] = {}
    visible = set(got.visible.tolist())
    for number, row in enumerate(coordinates.tolist()):
        azimuth, reach = place(row, corner)
        band = 0 if reach <= near else 1 if reach <= middle else 2
        key = (0 if corner else row[0], int((azimuth + 1e-9) % 360 // 10), band)
        found[key] = found.get(key, 0) + 1
        stayed[key] = stayed.get(key, 0) + (number in visible)
    for key, count in found.items():
        share = int((1 - ratio + BAND_BONUS[key[2]]) * count) if kept[key[0], key[1]] else 0
        assert stayed[key] == share
    assert len(visible) == len(got.visible)
    assert sorted(visible | set(got.masked.tolist())) == list(range(len(coordinates)))


def test_rotation_by_whole_sectors_permutes_them() -> None:
    # A quarter turn about the sensor maps the grid of voxels onto itself.
    coordinates = scene(clouds=1)
    turned = coordinates.clone()
    turned[:, 2], turned[:, 3] = coordinates[:, 3], 199 - coordinates[:, 2]
    sectors = torch.rand(1, 72, generator=generator(2)) < 0.3
    a = radial_mask(coordinates, 0.5, sector_degrees=5.0, kept_sectors=sectors, **SENSOR)
    b = radial_mask(turned, 0.5, sector_degrees=5.0, kept_sectors=sectors.roll(18, 1), **SENSOR)
    assert torch.equal(a.visible, b.visible)
    # About the corner it does not.
    corner = [
        radial_mask(c, 0.5, mode="corner_index", kept_sectors=sectors.repeat(1, 5)) for c in (coordinates, turned)
    ]
    assert not torch.equal(corner[0].visible, corner[1].visible)


def test_seed_generator_and_injection_replay_a_mask() -> None:
    coordinates = scene()
    options = {"range_bands": (20.0, 35.0), "num_clouds": 2, **SENSOR}
    first = radial_mask(coordinates, 0.6, seed=5, **options)
    again = radial_mask(coordinates, 0.6, generator=generator(5), **options)
    other = radial_mask(coordinates, 0.6, seed=6, **options)
    assert all(torch.equal(a, b) for a, b in zip(first, again))
    assert not torch.equal(first.visible, other.visible)
    scores = torch.rand(len(coordinates), generator=generator(9))
    replayed = [
        radial_mask(coordinates, 0.6, kept_sectors=first.kept_sectors, scores=scores, seed=s, **options) for s in (1, 2)
    ]
    assert torch.equal(replayed[0].visible, replayed[1].visible)
    assert torch.equal(replayed[0].kept_sectors, first.kept_sectors)


def test_published_guard_replaces_a_thin_mask() -> None:
    coordinates = filled_grid(60)
    sectors = torch.zeros(1, 360, dtype=torch.bool)
    got = radial_mask(coordinates, 0.9, mode="corner_index", kept_sectors=sectors, seed=0)
    assert len(got.visible) == int(0.1 * len(coordinates))
    assert len(radial_mask(coordinates, 0.9, mode="corner_index", kept_sectors=sectors, minimum_visible=0).visible) == 0
    spread = (coordinates[got.visible].double().mean(0) - coordinates.double().mean(0)).abs().max()
    assert spread < 3  # uniform over the scene, not radial


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(8))
def test_kernels_equal_reference_fuzz(device: str, seed: int) -> None:
    rng = random.Random(seed)
    clouds, count = rng.randint(1, 4), rng.choice([0, 1, 500, 20000])
    coordinates = scene(count, clouds, seed).to(device) if count else torch.zeros(0, 4, dtype=torch.int64).to(device)
    args = (
        coordinates,
        [rng.uniform(0.05, 2), 0.5],
        [rng.choice([0.0, -50.0, -49.75]), -49.75],
        rng.random() < 0.5,
        rng.choice([1.0, 3.7, 45.0, 360.0]),
        rng.choice([[-1.0, -1.0], [0.0, 20.0], [15.0, 30.0]]),
        clouds,
        rng.random() < 0.5,
    )
    got, want = torch.ops.mae3d.radial_groups(*args), reference.radial_groups(*args)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    g = generator(seed)
    quota = (torch.rand(len(got[1]), generator=g) * 1.3 * got[1].cpu()).long().to(device)
    scores = ((torch.rand(len(coordinates), generator=g) * 50).round() - 10).to(device)  # ties, negative values
    scores[:3] = torch.tensor([float("nan"), -0.0, float("inf")])[: len(scores)]
    for chosen in (scores, scores[:0]):
        kernel = torch.ops.mae3d.radial_select(got[0], quota, chosen)
        assert all(torch.equal(a, b) for a, b in zip(kernel, reference.radial_select(got[0], quota, chosen)))


def test_arc_tangent_is_exact_to_rounding() -> None:
    # Sectors of a thousandth of a degree: one misplaced voxel in 10^5 random ones would show an error of 1e-8 degrees.
    g = generator(4)
    coordinates = torch.cat(
        (torch.zeros(100000, 2, dtype=torch.int64), torch.randint(-(2**23), 2**23, (100000, 2), generator=g)), 1
    )
    args = (coordinates, [1.0, 1.0], [0.5, 0.5], False, 1e-3, [-1.0, -1.0], 1, False)
    assert torch.equal(torch.ops.mae3d.radial_groups(*args)[0], reference.radial_groups(*args)[0])


def test_opcheck() -> None:
    coordinates = scene(50, 2)
    args = (coordinates, [0.5, 0.5], [-50.0, -50.0], False, 10.0, [20.0, 30.0], 2, False)
    check_op(torch.ops.mae3d.radial_groups.default, args)
    groups, counts = torch.ops.mae3d.radial_groups(*args)
    check_op(torch.ops.mae3d.radial_select.default, (groups, counts // 2, torch.rand(len(groups))))


def test_compiles_without_graph_break() -> None:
    def visible(coordinates: Tensor, sectors: Tensor, scores: Tensor) -> Tensor:
        return radial_mask(
            coordinates, 0.5, range_bands=(20.0, 35.0), num_clouds=2, kept_sectors=sectors, scores=scores, **SENSOR
        ).visible

    torch.compiler.reset()
    coordinates = scene(400)
    inputs = (coordinates, torch.rand(2, 360, generator=generator(0)) < 0.5, torch.rand(len(coordinates)))
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True):
        compiled = torch.compile(visible, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(*inputs), visible(*inputs))


def test_wrong_arguments() -> None:
    coordinates = scene(20)
    for options, message in (
        ({"mode": "camera"}, "'mode' must be"),
        ({"voxel_size": None}, "needs 'voxel_size'"),
        ({"range_bands": (30.0, 20.0)}, "'range_bands' must be"),
        ({"seed": 1, "generator": generator(0)}, "not both"),
        ({"sector_degrees": 0.0}, "'sector_degrees'"),
        ({"kept_sectors": torch.zeros(2, 10, dtype=torch.bool)}, "'kept_sectors' must have shape"),
        ({"range_bands": (1.0, 2.0), "scores": torch.zeros(3)}, "'scores' must have shape"),
    ):
        with pytest.raises(OperatorInputError, match=message):
            radial_mask(coordinates, 0.5, **({"num_clouds": 2} | SENSOR | options))
    with pytest.raises(OperatorInputError, match="'mask_ratio'"):
        radial_mask(coordinates, 1.5, **SENSOR)
    with pytest.raises(RuntimeError, match="clouds in \\[0, 1\\)"):
        radial_mask(coordinates, 0.5, **SENSOR)
    with pytest.raises(RuntimeError, match="radial_select: 'scores' must have size"):
        torch.ops.mae3d.radial_select(torch.zeros(4).long(), torch.zeros(4).long(), torch.zeros(3))
