"""gather_points, gather_rows and group_points against torch indexing and autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import gather_points, gather_rows, group_points
from mae3d.ops._library import OPERATORS
from tests.ops.harness import DEVICES, check_compiles, check_grad, check_op, generator

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def make(batch: int, points: int, rows: int, channels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features [B, N, C] and indices [B, M], about one in eight -1."""
    g = generator(seed)
    features = torch.randn(batch, points, channels, generator=g)
    indices = torch.randint(0, points, (batch, rows), generator=g)
    return features, torch.where(torch.rand(batch, rows, generator=g) < 0.125, -1, indices)


def one_by_one(features: Tensor, indices: Tensor) -> Tensor:
    """Row by row, in Python."""
    zero = torch.zeros_like(features[0, 0])
    rows = [[features[b, i] if i >= 0 else zero for i in row] for b, row in enumerate(indices.tolist())]
    return torch.stack([torch.stack(row) for row in rows])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.int64, torch.int32, torch.uint8, torch.bool])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8, 17, 64])
def test_rows_equal_python_loop(dtype: torch.dtype, channels: int, device: str) -> None:
    features, indices = make(3, 20, 40, channels)
    features = (features * 100).to(dtype).to(device)
    result = gather_points(features, indices.to(device))
    assert result.dtype == dtype
    assert torch.equal(result, one_by_one(features, indices))


@pytest.mark.parametrize("device", DEVICES)
def test_large_gather_on_all_threads(device: str) -> None:
    features, indices = make(4, 5000, 20000, 32)
    features, indices = features.to(device), indices.to(device)
    assert torch.equal(gather_points(features, indices), OPERATORS["gather_points"](features, indices))


def test_strided_features_are_read_in_place() -> None:
    wide, indices = make(2, 30, 50, 8)
    for view in (wide[..., :3], wide[..., 2:5], wide[:, ::2], wide.transpose(0, 1)[:2], wide[..., ::2], wide[:1]):
        index = (indices % max(view.shape[1], 1))[: view.shape[0]]
        assert torch.equal(gather_points(view, index), gather_points(view.contiguous(), index))
    one_cloud_seen_twice = wide[:1].expand(2, -1, -1)
    assert torch.equal(gather_points(one_cloud_seen_twice, indices)[1], gather_points(wide[:1], indices[1:])[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("batch", "points", "rows", "channels"), [(3, 40, 90, 5), (1, 700, 3000, 33), (2, 1, 500, 3)])
def test_gradient_equals_autograd_of_indexing(batch, points, rows, channels, dtype, device) -> None:
    features, indices = make(batch, points, rows, channels)
    upstream = torch.randn(batch, rows, channels, generator=generator(1)).to(device, dtype)
    features, indices = features.to(device, dtype).requires_grad_(), indices.to(device)
    (gradient,) = torch.autograd.grad(gather_points(features, indices), features, upstream)
    exact = torch.zeros(batch, points + 1, channels, dtype=torch.float64, device=device)
    exact.index_put_(
        (torch.arange(batch, device=device)[:, None], indices % (points + 1)), upstream.double(), accumulate=True
    )
    assert gradient.dtype == dtype
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 2e-2}[dtype]
    torch.testing.assert_close(gradient.double(), exact[:, :points], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
def test_gradient_bits_do_not_depend_on_run_or_threads(device: str) -> None:
    indices = make(1, 300, 40000, 16)[1]
    gradient = torch.randn(1, 40000, 16, generator=generator(2)).to(device)
    indices = indices.to(device)
    results = []
    for count in (1, 2, 3, 5):
        torch.set_num_threads(count)
        results.append(torch.ops.mae3d.gather_points_backward(gradient, indices, 300))
    assert all(torch.equal(result, results[0]) for result in results[1:])


def test_gradcheck_first_and_second_order() -> None:
    features, indices = make(2, 5, 12, 3)
    check_grad(lambda f: gather_points(f, indices), features)
    f = features.double().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: gather_points(x, indices) ** 2, f)


def test_packed_rows() -> None:
    features, indices = make(1, 30, 24, 4)
    rows = gather_rows(features[0], indices[0].view(2, 3, 4))
    assert rows.shape == (2, 3, 4, 4)
    assert torch.equal(rows.flatten(0, 2), gather_points(features, indices)[0])
    assert torch.equal(gather_rows(features[0], indices[0, 0]), rows[0, 0, 0])
    check_grad(lambda f: gather_rows(f, indices[0]), features[0])


def test_groups_are_relative_and_missing_neighbours_zero() -> None:
    points, indices = make(2, 30, 24, 3)
    indices = indices.view(2, 6, 4)
    centers = torch.randn(2, 6, 3, generator=generator(5))
    groups = group_points(points, indices, centers)
    expected = torch.where((indices >= 0)[..., None], gather_points(points, indices) - centers[:, :, None], 0)
    assert torch.equal(groups, expected)
    assert torch.equal(group_points(points, indices), gather_points(points, indices))
    assert (groups[indices < 0] == 0).all()
    check_grad(lambda p, c: group_points(p, indices, c), points, centers)


@pytest.mark.parametrize("device", DEVICES)
def test_nothing_to_gather(device: str) -> None:
    for batch, points, rows, channels in [(0, 5, 3, 2), (2, 5, 0, 2), (2, 5, 3, 0), (0, 0, 0, 0)]:
        features = torch.zeros(batch, points, channels, device=device, requires_grad=True)
        index = torch.zeros(batch, rows, dtype=torch.int64, device=device)
        result = gather_points(features, index)
        assert result.shape == (batch, rows, channels)
        result.sum().backward()
        assert features.grad.shape == features.shape
    missing = torch.full((2, 3), -1, device=device)
    assert torch.equal(gather_points(torch.zeros(2, 0, 4, device=device), missing).cpu(), torch.zeros(2, 3, 4))


def test_an_index_outside_the_cloud_is_named() -> None:
    features, indices = make(2, 10, 6, 3)
    for wrong in (10, -2, 2**62, -(2**62)):
        indices[1, 4] = wrong
        with pytest.raises(RuntimeError, match=rf"'indices' must be -1 or in \[0, 10\), but entry \[1, 4\] is {wrong}"):
            gather_points(features, indices)
        with pytest.raises(RuntimeError, match="'indices' must be -1 or in"):
            torch.ops.mae3d.gather_points_backward(torch.ones(2, 6, 3), indices, 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f, i: gather_points(f[0], i), "'features' must have shape"),
        (lambda f, i: gather_points(f, i[:1]), "'indices' must have shape"),
        (lambda f, i: gather_points(f, i.int()), "'indices' must have dtype int64"),
        (lambda f, i: gather_rows(f, i), "'features' must have shape"),
        (lambda f, i: group_points(f, i), "'indices' must have shape"),
        (lambda f, i: group_points(f, i.view(2, 2, 3), f[:, :1]), "'centers' must have shape"),
        (lambda f, i: group_points(f, i.view(2, 2, 3), f[:, :2].double()), "'centers' must have dtype float32"),
    ],
)
def test_bad_arguments_are_named(call, message: str) -> None:
    features, indices = make(2, 10, 6, 3)
    with pytest.raises(OperatorInputError, match=message):
        call(features, indices)


def test_kernel_checks_its_arguments_itself() -> None:
    features, indices = make(2, 10, 6, 3)
    for call in (
        lambda: torch.ops.mae3d.gather_points(features[0], indices),
        lambda: torch.ops.mae3d.gather_points(features, indices.int()),
        lambda: torch.ops.mae3d.gather_points(features, indices[:1]),
        lambda: torch.ops.mae3d.gather_points_backward(features, indices, 10),
        lambda: torch.ops.mae3d.gather_points_backward(features[:, :6].long(), indices, 10),
        lambda: torch.ops.mae3d.gather_points_backward(features[:, :6], indices, -1),
    ):
        with pytest.raises(RuntimeError, match="gather_points"):
            call()


def test_opcheck_and_compile() -> None:
    features, indices = make(2, 10, 6, 3)
    check_op(torch.ops.mae3d.gather_points.default, (features.requires_grad_(), indices))
    gradient = torch.randn(2, 6, 3, requires_grad=True)
    check_op(torch.ops.mae3d.gather_points_backward.default, (gradient, indices, 10))
    check_compiles(lambda f, i: group_points(f, i.view(2, 2, 3), f[:, :2]), features.detach(), indices)
