"""Earth mover's distance against scipy, float64 references and properties of a match."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import earth_mover_distance
from mae3d.ops.reference import earth_mover_distance as reference
from tests.ops.harness import DEVICES, check_compiles, check_grad, check_op, generator, hard_clouds, random_cloud


def scipy_cost(a: Tensor, b: Tensor) -> float:
    matrix = (a[:, None].double() - b[None].double()).norm(dim=-1)
    rows, columns = linear_sum_assignment(matrix.numpy())
    return float(matrix[rows, columns].mean())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 33, 250])
def test_exact_equals_scipy(n: int, scale: float) -> None:
    a, b = random_cloud(3, n, 1, scale=scale).double(), random_cloud(3, n, 2, scale=scale).double()
    got = earth_mover_distance(a, b, method="exact")
    assert got.index is not None
    for pair in range(3):
        assert sorted(got.index[pair].tolist()) == list(range(n))
        assert float(got.cost[pair]) == pytest.approx(scipy_cost(a[pair], b[pair]), rel=1e-12)


def test_exact_with_ties_and_duplicates() -> None:
    draw = generator(5)
    for n in (4, 27, 64, 200):
        a = torch.randint(0, 3, (2, n, 3), generator=draw).double()
        b = torch.randint(0, 3, (2, n, 3), generator=draw).double()
        got = earth_mover_distance(a, b, method="exact")
        for pair in range(2):
            assert float(got.cost[pair]) == pytest.approx(scipy_cost(a[pair], b[pair]), rel=1e-12)


def test_exact_reference_is_optimal_too() -> None:
    a, b = random_cloud(2, 30, 1).double(), random_cloud(2, 30, 2).double()
    index = reference.optimal_assignment(a, b)
    cost = (a - b.gather(1, index[..., None].expand(-1, -1, 3))).norm(dim=-1).mean(1)
    torch.testing.assert_close(cost, earth_mover_distance(a, b, method="exact").cost)


def test_exact_gradient() -> None:
    a, b = random_cloud(2, 12, 1), random_cloud(2, 12, 2)
    check_grad(lambda a, b: earth_mover_distance(a, b, method="exact").cost, a, b)
    same = a.clone().requires_grad_()
    earth_mover_distance(same, a, method="exact").cost.sum().backward()
    assert same.grad is not None
    assert same.grad.eq(0).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 9), (40, 40), (64, 16), (50, 33), (33, 50), (257, 300)])
def test_approximate_equals_float64_reference(n: int, m: int, device: str) -> None:
    a, b = random_cloud(3, n, 1), random_cloud(3, m, 2)
    got = torch.ops.mae3d.approximate_match(a.to(device), b.to(device), True)
    want = reference.approximate_match(a.double(), b.double(), True)
    for x, y in zip(got, want):
        torch.testing.assert_close(x.cpu().double(), y, rtol=2e-4, atol=1e-6)
    without = torch.ops.mae3d.approximate_match(a.to(device), b.to(device), False)
    torch.testing.assert_close(without[0], got[0], rtol=1e-5, atol=0)


def test_approximate_is_a_match_no_better_than_the_best() -> None:
    a, b = random_cloud(4, 128, 1), random_cloud(4, 128, 2)
    approximate, exact = earth_mover_distance(a, b).cost, earth_mover_distance(a, b, method="exact").cost
    assert (approximate > exact * 0.999).all()
    assert (approximate < exact * 1.5).all()
    order = torch.randperm(128, generator=generator(0))
    assert (earth_mover_distance(a, a[:, order]).cost < 1e-4).all()


def test_approximate_by_hand() -> None:
    # One point each: the whole mass 1 travels their distance, whatever the rounds do.
    cost = earth_mover_distance(torch.zeros(1, 1, 3), torch.tensor([[[0.3, 0.0, 0.4]]])).cost
    torch.testing.assert_close(cost, torch.tensor([0.5]))
    # One against two: mass 2 leaves, 1 arrives at each.
    pair = torch.tensor([[[0.0, 0.0, 0.2], [0.0, 0.6, 0.0]]])
    torch.testing.assert_close(earth_mover_distance(torch.zeros(1, 1, 3), pair).cost, torch.tensor([0.4]))


@pytest.mark.parametrize("device", DEVICES)
def test_approximate_gradient_pulls_along_the_match(device: str) -> None:
    a, b = random_cloud(2, 60, 1).to(device).requires_grad_(), random_cloud(2, 70, 2).to(device).requires_grad_()
    cost = earth_mover_distance(a, b).cost
    got = torch.autograd.grad((cost * torch.tensor([1.0, 3.0], device=device)).sum(), (a, b))
    want = reference.approximate_match(a.detach().cpu().double(), b.detach().cpu().double(), True)[1:]
    for x, y in zip(got, want):
        torch.testing.assert_close(x.cpu().double(), y * torch.tensor([1.0, 3.0])[:, None, None], rtol=2e-4, atol=1e-6)
    torch.testing.assert_close(got[0].sum(1), -got[1].sum(1), rtol=1e-3, atol=1e-6)  # forces balance


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", hard_clouds())
def test_hard_clouds(name: str, device: str) -> None:
    cloud = hard_clouds()[name][None]
    other = cloud.flip(1)
    for method in ("approximate", "exact"):
        where = device if method == "approximate" else "cpu"
        a = cloud.to(where).clone().requires_grad_()
        cost = earth_mover_distance(a, other.to(where), method=method).cost
        cost.sum().backward()
        assert cost.isnan().item() == (not cloud.isfinite().all())
        assert a.grad is not None
        assert a.grad.isfinite().all()
        if method == "exact" and cloud.isfinite().all():
            assert cost.item() == 0


@pytest.mark.parametrize("method", ["approximate", "exact"])
def test_thread_count_does_not_change_a_bit(method: str) -> None:
    a, b = random_cloud(5, 200, 1).requires_grad_(), random_cloud(5, 200, 2)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        cost = earth_mover_distance(a, b, method=method).cost
        results.append((cost, *torch.autograd.grad(cost.sum(), a)))
    assert all(torch.equal(x, y) for x, y in zip(*results))


def test_empty() -> None:
    empty = torch.zeros(2, 0, 3)
    assert earth_mover_distance(empty, empty).cost.tolist() == [0, 0]
    assert earth_mover_distance(empty, empty, method="exact").cost.tolist() == [0, 0]
    assert earth_mover_distance(torch.zeros(0, 5, 3), torch.zeros(0, 4, 3)).cost.shape == (0,)


def test_traces() -> None:
    a, b = random_cloud(2, 20, 1).requires_grad_(), random_cloud(2, 30, 2)
    check_op(torch.ops.mae3d.approximate_match.default, (a, b, True))
    check_op(torch.ops.mae3d.optimal_assignment.default, (a.detach().double(), b[:, :20].double()))
    check_compiles(lambda a, b: earth_mover_distance(a, b).cost, a, b)
    check_compiles(lambda a, b: earth_mover_distance(a, b, method="exact").cost, a, b[:, :20])


@pytest.mark.parametrize(
    ("shapes", "method", "message"),
    [
        (((2, 5, 3), (2, 6, 3)), "exact", "as many points"),
        (((2, 5, 3), (3, 5, 3)), "exact", r"'b' must have shape \[2"),
        (((2, 5, 2), (2, 5, 3)), "approximate", "'a' must have shape"),
        (((2, 5, 3), (2, 0, 3)), "approximate", "both hold points"),
        (((2, 5, 3), (2, 5, 3)), "greedy", "'method' must be"),
        (((1, 16385, 3), (1, 16385, 3)), "exact", "at most 16384"),
    ],
)
def test_wrong_input_is_named(shapes, method: str, message: str) -> None:
    with pytest.raises(OperatorInputError, match=message):
        earth_mover_distance(torch.rand(shapes[0]), torch.rand(shapes[1]), method=method)


def test_kernel_called_directly_is_safe() -> None:
    with pytest.raises(RuntimeError, match="one of 'a' and 'b' is empty"):
        torch.ops.mae3d.approximate_match(torch.rand(1, 3, 3), torch.rand(1, 0, 3), False)
    with pytest.raises(RuntimeError, match="'b' must have size 3"):
        torch.ops.mae3d.optimal_assignment(torch.rand(1, 3, 3).double(), torch.rand(1, 4, 3).double())
