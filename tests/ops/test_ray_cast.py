import math

import pytest
import torch

from mae3d.errors import OperatorInputError
from mae3d.ops import _library
from mae3d.ops.ray_cast import BOX, CYLINDER, ELLIPSOID, GROUND, NOTHING, ray_cast
from mae3d.ops.reference.ray_cast import ray_cast as reference
from tests.ops.harness import DEVICES, check_compiles, check_op, generator


def scene(count: int, seed: int) -> torch.Tensor:
    g = generator(seed)
    rows = torch.empty(count, 8)
    rows[:, 0] = torch.randint(0, 3, (count,), generator=g)
    rows[:, 1:3] = torch.rand(count, 2, generator=g) * 80 - 40
    rows[:, 3] = torch.rand(count, generator=g) * 3
    rows[:, 4:7] = torch.rand(count, 3, generator=g) * 5 + 0.2
    rows[:, 7] = torch.rand(count, generator=g) * 7 - 3.5
    return rows


def sensor(columns: int = 180, beams: int = 16, moving: bool = True):
    turn = torch.arange(columns) * (2 * math.pi / columns) + 0.0013
    origins = torch.tensor([0.3, -0.2, 1.8]) + torch.outer(turn / 6.28, torch.tensor([1.0, 0.4, 0.0])) * moving
    return origins, turn, torch.linspace(-0.45, 0.2, beams) + 0.0007


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(4))
def test_equal_to_brute_force_in_float64(device, seed):
    origins, azimuths, elevations = sensor()
    solids = scene(60, seed)
    inputs = (origins, azimuths, elevations, solids)
    hits = ray_cast(*(x.to(device) for x in inputs), ground_z=0.0, max_range=60.0)
    ranges, index, cosine = reference(*(x.double() for x in inputs), 0.0, 60.0)
    same = index == hits.index.cpu()
    assert same.double().mean() > 0.9995  # grazing beams may fall on either side of an edge
    assert (index >= 0).double().mean() > 0.05
    torch.testing.assert_close(hits.ranges.cpu().double()[same], ranges[same], rtol=2e-5, atol=5e-3)
    gap = (hits.cosine.cpu().double()[same] - cosine[same]).abs()
    assert (gap < 2e-3).double().mean() > 0.998  # grazing beams turn rounding of the range into angle
    assert gap.max() < 0.05


def test_closed_forms():
    origin, ahead, level = torch.tensor([[0.0, 0.0, 2.0]]), torch.zeros(1), torch.tensor([0.0])
    solids = torch.tensor(
        [
            [BOX, 10, 0, 2, 2, 4, 2, 0],
            [CYLINDER, 20, 0.5, 2, 2, 9, 2, 0],
            [ELLIPSOID, 30, 0, 2, 4, 2, 2, 0],
            [BOX, 40, 0, 2, 2, 2, 2, math.pi / 4],
        ],
        dtype=torch.float32,
    )
    expected = [9.0, 20 - math.sqrt(1 - 0.25), 28.0, 40 - math.sqrt(2)]
    cosines = [1.0, math.sqrt(0.75), 1.0, math.sqrt(0.5)]
    for solid, distance, cosine in zip(solids, expected, cosines):
        hits = ray_cast(origin, ahead, level, solid[None])
        assert hits.ranges.item() == pytest.approx(distance, abs=1e-4)
        assert hits.cosine.item() == pytest.approx(cosine, abs=1e-3)
    assert ray_cast(origin, ahead, level, solids).index.item() == 0  # the nearest hides the others
    down = ray_cast(origin, ahead, torch.tensor([-math.pi / 6]), solids[:0])
    assert down.ranges.item() == pytest.approx(4.0, abs=1e-5)
    assert (down.index.item(), down.cosine.item()) == (GROUND, pytest.approx(0.5, abs=1e-5))


def test_hits_lie_on_the_surface_of_boxes():
    origins, azimuths, elevations = sensor(moving=False)
    solids = scene(40, 9)
    solids[:, 0] = BOX
    hits = ray_cast(origins, azimuths, elevations, solids, ground_z=None)
    a, e = torch.nonzero(hits.index >= 0, as_tuple=True)
    direction = torch.stack(
        (azimuths.cos()[a] * elevations.cos()[e], azimuths.sin()[a] * elevations.cos()[e], elevations.sin()[e]), -1
    )
    box = solids[hits.index[a, e]]
    offset = origins[a] + hits.ranges[a, e, None] * direction - box[:, 1:4]
    c, s = box[:, 7].cos(), box[:, 7].sin()
    local = torch.stack((offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s, offset[:, 2]), -1)
    excess = (local.abs() - box[:, 4:7] / 2).amax(dim=1)  # 0 on the surface
    assert excess.abs().max() < 1e-3


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_there(device):
    origins, azimuths, elevations = (x.to(device) for x in sensor(8, 4))
    none = ray_cast(origins, azimuths, elevations, torch.zeros(0, 8, device=device), ground_z=None)
    assert bool((none.index == NOTHING).all())
    assert bool(torch.isinf(none.ranges).all())
    empty = ray_cast(origins[:0], azimuths[:0], elevations, torch.zeros(3, 8, device=device))
    assert empty.ranges.shape == (0, 4)
    assert ray_cast(origins, azimuths, elevations[:0], scene(3, 0).to(device)).index.shape == (8, 0)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e30])
def test_solids_that_make_no_sense_are_never_hit(device, value):
    origins, azimuths, elevations = (x.to(device) for x in sensor(24, 8))
    good = scene(5, 1)
    bad = scene(24, 2)
    bad[torch.arange(24), torch.arange(24) % 7 + 1] = value
    bad[-1, 4:7] = torch.tensor([1.0, -1.0, 0.0])
    mixed = ray_cast(origins, azimuths, elevations, torch.cat((good, bad)).to(device))
    alone = ray_cast(origins, azimuths, elevations, good.to(device))
    torch.testing.assert_close(mixed.index, alone.index)
    torch.testing.assert_close(mixed.ranges, alone.ranges)


def test_a_sensor_inside_a_solid_looks_through_it():
    origin, ahead, level = torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(1), torch.tensor([0.0])
    for kind in (BOX, CYLINDER, ELLIPSOID):
        solids = torch.tensor([[kind, 0, 0, 1, 3, 3, 3, 0.3], [BOX, 9, 0, 1, 2, 2, 2, 0]], dtype=torch.float32)
        assert ray_cast(origin, ahead, level, solids).ranges.item() == pytest.approx(8.0)


def test_range_limit_and_thread_count(monkeypatch):
    inputs = (*sensor(720, 32), scene(80, 4))
    near = ray_cast(*inputs, max_range=15.0)
    far = ray_cast(*inputs, max_range=200.0)
    assert near.ranges[torch.isfinite(near.ranges)].max() <= 15.0
    within = far.ranges <= 15.0
    torch.testing.assert_close(near.ranges[within], far.ranges[within])
    torch.set_num_threads(1)
    single = ray_cast(*inputs, max_range=200.0)
    assert all(torch.equal(a, b) for a, b in zip(single, far))


def test_wrong_arguments_are_named():
    origins, azimuths, elevations = sensor(6, 3)
    solids = scene(2, 0)
    for arguments, name in [
        ((origins[:, :2], azimuths, elevations, solids), "origins"),
        ((origins, azimuths[:2], elevations, solids), "azimuths"),
        ((origins, azimuths, elevations + 1.6, solids), "elevations"),
        ((origins, azimuths, elevations, solids[:, :7]), "primitives"),
        ((origins.double(), azimuths, elevations, solids), "origins"),
    ]:
        with pytest.raises(OperatorInputError, match=f"ray_cast: '{name}'"):
            ray_cast(*arguments)
    with pytest.raises(OperatorInputError, match="max_range"):
        ray_cast(origins, azimuths, elevations, solids, max_range=-1)
    with pytest.raises(RuntimeError, match="'primitives' must have size 8"):
        torch.ops.mae3d.ray_cast(origins, azimuths, elevations, solids[:, :7], 0.0, 1.0)


def test_opcheck_and_compile():
    inputs = (*sensor(12, 4), scene(5, 0))
    check_op(torch.ops.mae3d.ray_cast.default, (*inputs, 0.0, 50.0))
    check_compiles(lambda *x: ray_cast(*x).ranges, *inputs)


def test_fallback_equals_kernel():
    inputs = (*sensor(30, 6), scene(20, 3))
    slow = _library.OPERATORS["ray_cast"](*inputs, 0.0, 50.0)
    fast = ray_cast(*inputs, max_range=50.0)
    same = slow[1] == fast.index
    assert same.double().mean() > 0.99
    torch.testing.assert_close(slow[0][same], fast.ranges[same], rtol=1e-4, atol=1e-3)
