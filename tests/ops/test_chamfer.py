"""Chamfer distance against float64 brute force, finite differences and its written contract."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import ChamferDistance, chamfer_distance
from mae3d.ops.reference import chamfer as reference
from tests.ops.harness import DEVICES, check_compiles, check_grad, check_op, generator, hard_clouds, pack, random_cloud

HARD = hard_clouds()
SIZES = [(1, 1, 1), (3, 7, 40), (2, 32, 32), (64, 32, 17), (1, 300, 1000), (2, 1500, 1200), (1, 4500, 4200)]


def expected(a: Tensor, b: Tensor, a_mask: Tensor | None = None, b_mask: Tensor | None = None) -> ChamferDistance:
    """Reference in the inputs' own precision: ties and bits are comparable."""
    return ChamferDistance(*reference.chamfer_distance(a, b, a_mask, b_mask))


def assert_same(got: tuple[Tensor, ...], want: tuple[Tensor, ...]) -> None:
    for name, x, y in zip(ChamferDistance._fields, got, want):
        torch.testing.assert_close(x.cpu(), y.cpu(), rtol=0, atol=0, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("batch", "n", "m"), SIZES)
def test_equals_brute_force_bit_for_bit(batch: int, n: int, m: int, dtype: torch.dtype, device: str) -> None:
    a, b = random_cloud(batch, n, 1).to(dtype), random_cloud(batch, m, 2).to(dtype)
    assert_same(chamfer_distance(a.to(device), b.to(device)), expected(a, b))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("first", HARD)
def test_hard_clouds(first: str, device: str) -> None:
    for second in HARD.values():
        a, b = HARD[first][None], second[None]
        assert_same(chamfer_distance(a.to(device), b.to(device)), expected(a, b))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", HARD)
def test_hard_clouds_among_many_points(name: str, device: str) -> None:
    many = random_cloud(1, 1500, 1)[0]
    a = torch.cat((HARD[name].repeat(10, 1), many))[None]
    for b in (a.flip(1), many[None] + HARD[name].nan_to_num().sum(0), HARD[name].repeat(12, 1)[None]):
        assert_same(chamfer_distance(a.to(device), b.to(device)), expected(a, b))


def test_close_to_float64() -> None:
    a, b = random_cloud(2, 500, 3), random_cloud(2, 400, 4)
    got = chamfer_distance(a, b).a_to_b
    torch.testing.assert_close(got.double(), torch.cdist(a.double(), b.double()).amin(2).square(), rtol=1e-5, atol=1e-9)


def test_properties_of_the_distance() -> None:
    a, b = random_cloud(2, 100, 5), random_cloud(2, 130, 6)
    forth, back = chamfer_distance(a, b), chamfer_distance(b, a)
    assert_same(forth, (back.b_to_a, back.a_to_b, back.b_to_a_index, back.a_to_b_index))
    order = torch.randperm(100, generator=generator(0))
    same = chamfer_distance(a, a[:, order])
    assert same.a_to_b.eq(0).all()
    assert same.b_to_a.eq(0).all()
    assert same.b_to_a_index.eq(order).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "m"), [(40, 30), (1800, 1700)])
def test_masks(n: int, m: int, device: str) -> None:
    a, b = random_cloud(3, n, 1), random_cloud(3, m, 2)
    a_mask, b_mask = torch.rand(3, n, generator=generator(3)) < 0.7, torch.rand(3, m, generator=generator(4)) < 0.5
    b_mask[1] = False
    got = chamfer_distance(a.to(device), b.to(device), a_mask=a_mask.to(device), b_mask=b_mask.to(device))
    assert_same(got, expected(a, b, a_mask, b_mask))
    assert got.a_to_b[1].cpu()[a_mask[1]].isinf().all()
    assert got.a_to_b.cpu()[~a_mask].eq(0).all()
    kept = chamfer_distance(a[:1][a_mask[:1]][None], b[:1][b_mask[:1]][None])
    torch.testing.assert_close(got.a_to_b[0].cpu()[a_mask[0]], kept.a_to_b[0])


@pytest.mark.parametrize("device", DEVICES)
def test_packed_equals_dense_per_cloud(device: str) -> None:
    first, second = list(HARD.values()), list(HARD.values())[::-1]
    second[0] = random_cloud(1, 1500, 3)[0]
    first[3] = random_cloud(1, 1300, 4)[0]
    (a, a_offsets), (b, b_offsets) = pack(first), pack(second)
    a, b, a_offsets, b_offsets = (x.to(device) for x in (a, b, a_offsets, b_offsets))
    got = chamfer_distance(a, b, a_offsets=a_offsets, b_offsets=b_offsets)
    assert_same(got, reference.chamfer_distance(a, b, None, None, a_offsets, b_offsets))
    for i, (x, y) in enumerate(zip(first, second)):
        alone = chamfer_distance(x[None].to(device), y[None].to(device))
        rows = slice(int(a_offsets[i]), int(a_offsets[i + 1]))
        shifted = alone.a_to_b_index[0] + torch.where(alone.a_to_b_index[0] >= 0, b_offsets[i], 0)
        torch.testing.assert_close(got.a_to_b[rows], alone.a_to_b[0], rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(got.a_to_b_index[rows], shifted)


@pytest.mark.parametrize("squared", [True, False])
def test_gradient_equals_finite_differences(squared: bool) -> None:
    a, b = random_cloud(2, 9, 1), random_cloud(2, 7, 2)
    mask = torch.rand(2, 9, generator=generator(3)) < 0.7

    def distances(a: Tensor, b: Tensor) -> Tensor:
        result = chamfer_distance(a, b, squared=squared, a_mask=mask)
        weights = torch.arange(1.0, 17, dtype=a.dtype)
        return torch.cat((result.a_to_b, result.b_to_a), dim=1) * weights

    check_grad(distances, a, b)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("packed", [False, True])
def test_gradient_equals_reference(packed: bool, device: str) -> None:
    a, b = random_cloud(3, 500, 1).to(device), random_cloud(3, 700, 2).to(device)
    a[0, :9], b[1, :9], b[2] = torch.nan, torch.inf, torch.nan
    offsets: tuple[Tensor | None, Tensor | None] = (None, None)
    if packed:
        offsets = (torch.tensor([0, 0, 400, 1500]).to(device), torch.tensor([0, 300, 2000, 2100]).to(device))
        a, b = a.reshape(-1, 3), b.reshape(-1, 3)
    a.requires_grad_(), b.requires_grad_()
    result = chamfer_distance(a, b, a_offsets=offsets[0], b_offsets=offsets[1])
    weights = [torch.rand(d.shape, generator=generator(i)).to(device) for i, d in enumerate(result[:2])]
    got = torch.autograd.grad(result[:2], (a, b), weights)
    want = reference.chamfer_distance_backward(*weights, a.detach(), b.detach(), *result[2:], *offsets)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
    assert all(gradient.isfinite().all() for gradient in got)
    again = torch.autograd.grad(chamfer_distance(a, b, a_offsets=offsets[0], b_offsets=offsets[1])[:2], (a, b), weights)
    assert all(torch.equal(x, y) for x, y in zip(got, again))


def test_root_has_a_finite_gradient_where_points_coincide() -> None:
    a = random_cloud(1, 20, 1).requires_grad_()
    b = a.detach().clone().requires_grad_()
    result = chamfer_distance(a, b, squared=False)
    (result.a_to_b.sum() + result.b_to_a.sum()).backward()
    assert a.grad is not None
    assert a.grad.eq(0).all()
    moved = chamfer_distance(a, b + torch.tensor([1e-3, 0, 0]), squared=False).a_to_b
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-3), rtol=1e-3, atol=0)
    (gradient,) = torch.autograd.grad(moved.sum(), a)
    torch.testing.assert_close(gradient.norm(dim=-1), torch.ones(1, 20))


def test_thread_count_does_not_change_a_bit() -> None:
    a, b = random_cloud(5, 1500, 1).requires_grad_(), random_cloud(5, 1100, 2)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        result = chamfer_distance(a, b)
        results.append((*result, *torch.autograd.grad(result.a_to_b.sum() + result.b_to_a.sum(), a)))
    assert all(torch.equal(x, y) for x, y in zip(*results))


@pytest.mark.parametrize("batch", [0, 2])
def test_empty(batch: int) -> None:
    result = chamfer_distance(torch.zeros(batch, 0, 3), torch.rand(batch, 4, 3))
    assert [tuple(x.shape) for x in result] == [(batch, 0), (batch, 4)] * 2
    assert result.b_to_a.isinf().all()
    assert result.b_to_a_index.eq(-1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_are_computed_in_float32(dtype: torch.dtype) -> None:
    a, b = random_cloud(2, 30, 1).to(dtype).requires_grad_(), random_cloud(2, 30, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = chamfer_distance(a, b)
    assert_same(result, expected(a.detach().float(), b))
    result.a_to_b.sum().backward()
    assert a.grad is not None
    assert a.grad.dtype == dtype


def test_fuzz_against_reference() -> None:
    draw = generator(11)
    for _ in range(60):
        batch, n, m = (int(torch.randint(0, high, (), generator=draw)) for high in (4, 700, 700))
        scale = 10.0 ** float(torch.randint(-3, 4, (), generator=draw))
        a = (torch.randn(batch, n, 3, generator=draw) * scale).round(decimals=1)  # rounding makes ties
        b = (torch.randn(batch, m, 3, generator=draw) * scale).round(decimals=1)
        mask = torch.rand(batch, n, generator=draw) < 0.9
        assert_same(chamfer_distance(a, b, a_mask=mask), expected(a, b, mask))


def test_traces() -> None:
    a, b = random_cloud(2, 20, 1).requires_grad_(), random_cloud(2, 30, 2)
    mask = torch.ones(2, 20, dtype=torch.bool)
    check_op(torch.ops.mae3d.chamfer_distance.default, (a, b, mask, None, None, None))
    (x, x_offsets), (y, y_offsets) = pack([*random_cloud(3, 5)]), pack([*random_cloud(3, 4)])
    check_op(torch.ops.mae3d.chamfer_distance.default, (x.requires_grad_(), y, None, None, x_offsets, y_offsets))
    check_compiles(lambda a, b: chamfer_distance(a, b, squared=False), a, b)
    check_compiles(lambda a, b: chamfer_distance(a, b, a_offsets=x_offsets, b_offsets=y_offsets), x, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda a, b, o: ((a[0], b), {}), "'a' must have shape"),
        (lambda a, b, o: ((a, b[:1]), {}), "same number of clouds"),
        (lambda a, b, o: ((a.long(), b), {}), "'a' must have dtype"),
        (lambda a, b, o: ((a, b), {"a_mask": torch.ones(2, 3)}), "'a_mask' must have shape"),
        (lambda a, b, o: ((a, b), {"b_mask": torch.ones(2, 6)}), "'b_mask' must have dtype bool"),
        (lambda a, b, o: ((a[0], b[0]), {"a_offsets": o}), "both 'a_offsets' and 'b_offsets'"),
        (lambda a, b, o: ((a[0], b[0]), {"a_offsets": o, "b_offsets": o}), "'b_offsets' must end"),
    ],
)
def test_wrong_input_is_named(arguments, message: str) -> None:
    offsets = torch.tensor([0, 5])
    args, kwargs = arguments(torch.rand(2, 5, 3), torch.rand(2, 6, 3), offsets)
    with pytest.raises(OperatorInputError, match=message):
        chamfer_distance(*args, **kwargs)


def test_kernel_called_directly_is_safe() -> None:
    a, b = torch.rand(5, 3), torch.rand(6, 3)
    bad = torch.tensor([0, 9])
    with pytest.raises(RuntimeError, match="'a_offsets' must end with the number of rows"):
        torch.ops.mae3d.chamfer_distance(a, b, None, None, bad, torch.tensor([0, 6]))
    indices = torch.tensor([[99, -5, 0, 1, 2]]), torch.tensor([[0, 0, 0, 0, 77, 1]])
    grads = torch.ops.mae3d.chamfer_distance_backward(
        torch.ones(1, 5), torch.ones(1, 6), a[None], b[None], *indices, None, None
    )
    assert all(gradient.isfinite().all() for gradient in grads)
