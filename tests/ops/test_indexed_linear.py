"""Sums of rows multiplied by picked matrices, against plain loops, float64 and the gather + bmm form."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops import indexed_linear, indexed_project
from mae3d.ops._library import UNAVAILABLE
from mae3d.ops.reference import indexed_linear as reference
from tests.ops.harness import DEVICES, check_compiles, check_grad, check_op, generator

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
RESET = Path("/proc/self/clear_refs")
TOLERANCE = {torch.float16: {"rtol": 2e-3, "atol": 2e-3}, torch.bfloat16: {"rtol": 2e-2, "atol": 2e-2}}


def inputs(rows: int, channels: int, matrices: int, width: int, groups: int, seed: int = 0, dtype=torch.float32):
    g = generator(seed)
    features = torch.randn(rows, channels, generator=g).to(dtype)
    weight = torch.randn(matrices, channels, width, generator=g).to(dtype)
    index = torch.randint(0, matrices, (rows,), generator=g)
    return features, weight, index, torch.randint(-1, max(groups, 1), (rows,), generator=g)


def by_loop(features: Tensor, weight: Tensor, index: Tensor, group: Tensor, groups: int, reduce: str) -> Tensor:
    out = torch.zeros(groups, weight.shape[2], dtype=torch.float64)
    joined = [0] * groups
    for row, (matrix, target) in enumerate(zip(index.tolist(), group.tolist())):
        if target >= 0:
            out[target] += features[row].double() @ weight[matrix].double()
            joined[target] += 1
    return out / torch.tensor(joined).clamp(min=1)[:, None] if reduce == "mean" else out


def to(device: str, *tensors: Tensor) -> list[Tensor]:
    return [t.to(device) for t in tensors]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("reduce", ["sum", "mean"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("channels", "width"), [(12, 64), (9, 33), (1, 1), (26, 260)])
def test_equals_loop(device: str, reduce: str, dtype: torch.dtype, channels: int, width: int) -> None:
    args = inputs(300, channels, 40, width, 23, dtype=dtype)
    got = indexed_linear(*to(device, *args), 24, reduce)
    assert got.dtype == dtype
    assert bool((got[23] == 0).all())
    torch.testing.assert_close(got.cpu(), by_loop(*args, 24, reduce).to(dtype), **TOLERANCE.get(dtype, {}))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(10))
def test_kernels_equal_reference_fuzz(device: str, seed: int) -> None:
    rng = random.Random(seed)
    rows, groups = rng.choice([0, 1, 50, 3000]), rng.choice([1, 7, 900])
    channels, matrices, width = rng.choice([1, 3, 12, 13]), rng.choice([1, 5, 512]), rng.choice([1, 8, 100, 132])
    dtype, mean = rng.choice(DTYPES), rng.random() < 0.5
    args = to(device, *inputs(rows, channels, matrices, width, groups, seed, dtype))
    tolerance = TOLERANCE.get(dtype, {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {})
    got = torch.ops.mae3d.indexed_linear(*args, groups, mean)
    wanted = reference.indexed_linear(*args, groups, mean)
    torch.testing.assert_close(got[0], wanted[0], **tolerance)
    torch.testing.assert_close(got[1], wanted[1])
    features, weight, index, group = args
    grad = torch.randn(groups, width, generator=generator(seed)).to(features)
    common = (index, group, got[1])
    torch.testing.assert_close(
        torch.ops.mae3d.indexed_linear_feature_grad(grad, weight, *common, mean),
        reference.indexed_linear_feature_grad(grad, weight, *common, mean),
        **tolerance,
    )
    torch.testing.assert_close(
        torch.ops.mae3d.indexed_linear_weight_grad(grad, features, *common, matrices, mean),
        reference.indexed_linear_weight_grad(grad, features, *common, matrices, mean),
        **tolerance,
    )


@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_gradcheck_twice(reduce: str) -> None:
    features, weight, index, group = inputs(12, 3, 4, 5, 4)

    def function(f: Tensor, w: Tensor) -> Tensor:
        return indexed_linear(f, w, index, group, 4, reduce)

    check_grad(function, features, weight)
    doubles = [t.double().requires_grad_() for t in (features, weight)]
    assert torch.autograd.gradgradcheck(function, doubles)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_float32_features_with_half_weights(device: str, dtype: torch.dtype) -> None:
    features, weight, index, group = inputs(500, 12, 64, 32, 9)
    features = (features + 1000).requires_grad_()  # what a half type would round away
    weight = weight.to(dtype).requires_grad_()
    got = indexed_linear(*to(device, features, weight, index, group), 9, "mean")
    assert got.dtype == dtype
    want = by_loop(features.detach(), weight.detach(), index, group, 9, "mean")
    torch.testing.assert_close(got.detach().cpu(), want.to(dtype), rtol=1e-2, atol=1e-2)
    got.float().sum().backward()
    assert features.grad.dtype == torch.float32
    assert weight.grad.dtype == dtype


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_project_equals_loop_and_is_the_adjoint(device: str, dtype: torch.dtype) -> None:
    features, weight, index, group = to(device, *inputs(200, 12, 30, 48, 9, dtype=dtype))
    hidden = torch.randn(9, 48, generator=generator(5)).to(features)
    got = indexed_project(hidden, weight, index, group)
    assert got.dtype == dtype
    rows = [weight[k].double() @ hidden[t].double() if t >= 0 else torch.zeros(12) for k, t in zip(index, group)]
    want = torch.stack([row.to(features) for row in rows])
    torch.testing.assert_close(got, want, **TOLERANCE.get(dtype, {"rtol": 1e-5, "atol": 1e-5}))
    left = (got.double() * features.double()).sum()
    right = (hidden.double() * indexed_linear(features, weight, index, group, 9).double()).sum()
    loose = {"rtol": 1e-2, "atol": 1.0} if dtype in TOLERANCE else {"rtol": 1e-5, "atol": 1e-4}
    torch.testing.assert_close(left, right, **loose)


def test_project_gradcheck_compile_and_autocast() -> None:
    _, weight, index, group = inputs(12, 3, 4, 5, 4)
    hidden = torch.randn(4, 5, generator=generator(0))
    check_grad(lambda h, w: indexed_project(h, w, index, group), hidden, weight)
    check_compiles(lambda h, w: indexed_project(h, w, index, group), hidden, weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert indexed_project(hidden, weight, index, group).dtype == torch.bfloat16
    with pytest.raises(OperatorInputError, match=r"indexed_project: 'weight' must have shape"):
        indexed_project(hidden[:, :4], weight, index, group)


def test_half_accumulates_in_float32() -> None:
    ones = torch.ones(5000, 1, dtype=torch.bfloat16)  # bfloat16 sums would stick at 256
    zeros = torch.zeros(5000, dtype=torch.int64)
    assert indexed_linear(ones, ones[:1, :, None], zeros, zeros, 1).item() == torch.tensor(5000.0).bfloat16().item()


def test_autocast_casts_the_weight_and_keeps_its_gradient_in_float32() -> None:
    features, weight, index, group = inputs(50, 4, 6, 8, 5)
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        got = indexed_linear(features, weight, index, group, 5)
        assert got.dtype == torch.bfloat16
        assert indexed_linear(features.bfloat16(), weight, index, group, 5).dtype == torch.bfloat16
    got.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
def test_order_of_rows_does_not_matter(device: str) -> None:
    """No bit changes: inside a group rows are added by their index, which is unique there."""
    cells = torch.randperm(40 * 512, generator=generator(0))[:4000]
    args = to(device, torch.randn(4000, 12, generator=generator(1)), torch.randn(512, 12, 48, generator=generator(2)))
    index, group = to(device, cells % 512, cells // 512)
    order = torch.randperm(4000, generator=generator(3)).to(device)
    got = indexed_linear(args[0][order], args[1], index[order], group[order], 40, "mean")
    assert torch.equal(got, indexed_linear(*args, index, group, 40, "mean"))


@pytest.mark.parametrize("device", DEVICES)
def test_same_bits_on_every_run_and_for_every_number_of_threads(device: str) -> None:
    args = to(device, *inputs(20000, 12, 300, 96, 700))
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        leaves = [t.clone().requires_grad_() for t in args[:2]]
        out = indexed_linear(*leaves, *args[2:], 700, "mean")
        results.append((out, *torch.autograd.grad(out.square().sum(), leaves)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


@pytest.mark.parametrize("device", DEVICES)
def test_rows_of_one_group_and_one_matrix(device: str) -> None:
    """The longest possible run: one matrix, one group."""
    features = torch.randn(7000, 12, generator=generator(0))
    weight = torch.randn(1, 12, 40, generator=generator(1))
    zeros = torch.zeros(7000, dtype=torch.int64)
    features, weight, zeros = to(device, features, weight, zeros)
    got = indexed_linear(features, weight.requires_grad_(), zeros, zeros, 1, "mean")
    want = (features.double() @ weight[0].double()).mean(0, keepdim=True)
    torch.testing.assert_close(got, want.float())
    got.sum().backward()
    means = features.double().mean(0)[None, :, None].expand(1, 12, 40).float()
    torch.testing.assert_close(weight.grad, means, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("device", DEVICES)
def test_nan_stays_in_its_group(device: str) -> None:
    features, weight, index, group = to(device, *inputs(200, 12, 7, 16, 5))
    features[3] = torch.nan
    group[3] = 2
    got = indexed_linear(features, weight, index, group, 5)
    assert got.isnan().any(dim=1).tolist() == [False, False, True, False, False]


def test_strides() -> None:
    features, weight, index, group = inputs(60, 8, 5, 12, 6)
    got = indexed_linear(features[:, ::2], weight[:, ::2, ::3], index.expand(2, -1)[0], group, 6)
    want = indexed_linear(features[:, ::2].contiguous(), weight[:, ::2, ::3].contiguous(), index, group, 6)
    torch.testing.assert_close(got, want)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="reads the device's allocator")
def test_peak_memory_on_the_device_is_far_below_the_gathered_matrices() -> None:
    args = to("cuda", *inputs(200_000, 12, 4096, 384, 2000))
    args[1].requires_grad_()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    indexed_linear(*args, 2000, "mean").square().sum().backward()
    gathered = 200_000 * 12 * 384 * 4
    assert torch.cuda.max_memory_allocated() - before < gathered / 10


@pytest.mark.skipif(UNAVAILABLE["cpu"] is not None, reason="the plain form gathers; the library is not built")
@pytest.mark.skipif(not RESET.exists(), reason="reads the peak of the process from /proc")
def test_peak_memory_on_the_cpu_is_far_below_the_gathered_matrices() -> None:
    args = inputs(100_000, 12, 512, 384, 2000)
    args[1].requires_grad_()
    RESET.write_text("5")  # forgets the high-water mark so far
    before = resident("VmRSS")
    indexed_linear(*args, 2000, "mean").square().sum().backward()
    gathered = 100_000 * 12 * 384 * 4
    assert resident("VmHWM") - before < gathered / 10


def resident(field: str) -> int:
    """Bytes of this process in memory, now (VmRSS) or at most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def test_opcheck() -> None:
    features, weight, index, group = inputs(20, 3, 4, 5, 6)
    features.requires_grad_(), weight.requires_grad_()
    for mean in (False, True):
        check_op(torch.ops.mae3d.indexed_linear.default, (features, weight, index, group, 6, mean))
    grad, counts = torch.randn(6, 5).requires_grad_(), torch.ones(6, dtype=torch.int64)
    check_op(torch.ops.mae3d.indexed_linear_feature_grad.default, (grad, weight, index, group, counts, True))
    check_op(torch.ops.mae3d.indexed_linear_weight_grad.default, (grad, features, index, group, counts, 4, True))


def test_compiles() -> None:
    features, weight, index, group = inputs(30, 3, 4, 5, 6)
    check_compiles(lambda f, w: indexed_linear(f, w, index, group, 6, "mean").square().sum(), features, weight)


def test_wrong_arguments() -> None:
    features, weight, index, group = inputs(10, 3, 4, 5, 2)
    with pytest.raises(OperatorInputError, match="'reduce' must be 'sum' or 'mean'"):
        indexed_linear(features, weight, index, group, 2, "max")
    with pytest.raises(OperatorInputError, match=r"'weight' must have shape \[\*, 3, \*\]"):
        indexed_linear(features, weight[:, :2], index, group, 2)
    with pytest.raises(OperatorInputError, match="'index' must have shape"):
        indexed_linear(features, weight, index[:9], group, 2)
    with pytest.raises(OperatorInputError, match="'group' must have dtype int64"):
        indexed_linear(features, weight, index, group.int(), 2)
    with pytest.raises(OperatorInputError, match="must have the dtype of 'weight' or widen it"):
        indexed_linear(features.half(), weight, index, group, 2)
    with pytest.raises(OperatorInputError, match="'num_groups'"):
        indexed_linear(features, weight, index, group, -1)
    with pytest.raises(RuntimeError, match=r"'index' must be in \[0, 4\), but entry 9 is 4"):
        indexed_linear(features, weight, index.index_fill(0, torch.tensor([9]), 4), group, 2)
    with pytest.raises(RuntimeError, match="'group' must be below num_groups = 2"):
        indexed_linear(features, weight, index, torch.full((10,), 2), 2)
    with pytest.raises(RuntimeError, match="indexed_linear: 'weight' must have size 3 on axis 1"):
        torch.ops.mae3d.indexed_linear(features, weight[:, :2], index, group, 2, False)
    with pytest.raises(RuntimeError, match="indexed_linear_weight_grad: 'counts' must have size 2"):
        torch.ops.mae3d.indexed_linear_weight_grad(torch.zeros(2, 5), features, index, group, index, 4, True)


@pytest.mark.parametrize("device", DEVICES)
def test_rows_that_join_no_group_of_none(device: str) -> None:
    features, weight, index, _ = (part.to(device) for part in inputs(10, 3, 4, 5, 2))
    features.requires_grad_(), weight.requires_grad_()
    nowhere = torch.full((10,), -1, device=device)
    out = indexed_linear(features, weight, index, nowhere, 0)
    assert out.shape == (0, 5)
    out.sum().backward()
    assert not features.grad.any()
    assert not weight.grad.any()


@pytest.mark.parametrize("device", DEVICES)
def test_no_channels_at_all(device: str) -> None:
    index = torch.zeros(3, dtype=torch.int64, device=device)
    none = torch.zeros(2, 0, device=device), torch.zeros(3, 0, device=device)
    counts = torch.ones(2, dtype=torch.int64, device=device)
    result = torch.ops.mae3d.indexed_linear_weight_grad(*none, index, index, counts, 1, False)
    assert result.shape == (1, 0, 0)
