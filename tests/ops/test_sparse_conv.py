"""Sparse convolution against dense convolution on zero-filled grids, in float64."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mae3d.errors import OperatorInputError
from mae3d.ops._library import OPERATORS
from mae3d.ops.reference import sparse_conv as reference
from mae3d.ops.sparse_conv import build_rulebook, sparse_conv
from tests.ops.harness import DEVICES, check_compiles, check_op, generator

GRIDS = {1: (17,), 2: (11, 13), 3: (6, 9, 8)}
DENSE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
KERNELS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 2, "stride": 2},
    {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2},
    {"kernel_size": 1, "stride": 3},
    {"kernel_size": 4, "stride": 3, "padding": 1},
    {"kernel_size": (3, 1, 2), "stride": (2, 1, 3), "padding": (0, 0, 1), "dilation": (1, 2, 1)},
    {"kernel_size": (3, 1, 1), "stride": (2, 1, 1)},
]
CENTRED = [
    {"kernel_size": 3},
    {"kernel_size": 5},
    {"kernel_size": 1},
    {"kernel_size": 3, "dilation": 2},
    {"kernel_size": 2},
    {"kernel_size": (3, 2, 5), "dilation": (1, 3, 1)},
]


def cells(shape: tuple[int, ...], batch: int = 2, share: float = 0.15, seed: int = 0) -> Tensor:
    """Random distinct cells [V, 1 + D] in random order."""
    g = generator(seed)
    found = (torch.rand(batch, *shape, generator=g) < share).nonzero().int()
    return found[torch.randperm(len(found), generator=g)]


def to_dense(features: Tensor, coordinates: Tensor, shape: tuple[int, ...], batch: int) -> Tensor:
    """[V, C] -> [B, C, *shape]."""
    grid = features.new_zeros(batch, *shape, features.shape[1])
    return grid.index_put(tuple(coordinates.long().T), features).movedim(-1, 1)


def at_cells(dense: Tensor, coordinates: Tensor) -> Tensor:
    return dense.movedim(1, -1)[tuple(coordinates.long().T)]


def fits(axes: int, options: dict) -> bool:
    return all(isinstance(v, int) or len(v) == axes for v in options.values())


def dense_options(axes: int, options: dict) -> dict:
    return {name: options.get(name, 0 if name == "padding" else 1) for name in ("stride", "padding", "dilation")}


STRIDED_CASES = [(axes, options) for axes in GRIDS for options in KERNELS if fits(axes, options)]
CENTRED_CASES = [(axes, options) for axes in GRIDS for options in CENTRED if fits(axes, options)]


def parts(axes: int, options: dict, device: str = "cpu", channels=(5, 7), dtype=torch.float64, submanifold=False):
    """Rule book, features, weight [C_out, *k, C_in], bias."""
    coordinates = cells(GRIDS[axes]).to(device)
    book = build_rulebook(coordinates, GRIDS[axes], 2, submanifold=submanifold, **options)
    g = generator(1)
    features = torch.randn(len(coordinates), channels[0], generator=g, dtype=torch.float64)
    weight = torch.randn(channels[1], *book.kernel_size, channels[0], generator=g, dtype=torch.float64)
    bias = torch.randn(channels[1], generator=g, dtype=torch.float64)
    return book, features.to(device, dtype), weight.to(device, dtype), bias.to(device, dtype)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("axes", "options"), STRIDED_CASES)
def test_strided_equals_dense_convolution_where_it_reaches(axes, options, device):
    book, features, weight, bias = parts(axes, options, device)
    dense = to_dense(features, book.input_coordinates, GRIDS[axes], 2)
    expected = DENSE[axes](dense, weight.movedim(-1, 1), bias, **dense_options(axes, options))
    assert expected.shape[2:] == book.output_shape
    result = sparse_conv(features, weight, book, bias)
    torch.testing.assert_close(result, at_cells(expected, book.output_coordinates))
    # Exactly the cells that an input reaches, in ascending order.
    occupied = to_dense(torch.ones_like(features[:, :1]), book.input_coordinates, GRIDS[axes], 2)
    touched = DENSE[axes](occupied, torch.ones_like(weight[:1, ..., :1]).movedim(-1, 1), **dense_options(axes, options))
    assert torch.equal((touched[:, 0] > 0.5).nonzero().int(), book.output_coordinates)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("axes", "options"), CENTRED_CASES)
def test_submanifold_equals_dense_convolution_at_its_cells(axes, options, device):
    book, features, weight, bias = parts(axes, options, device, submanifold=True)
    dense = to_dense(features, book.input_coordinates, GRIDS[axes], 2)
    expected = DENSE[axes](dense, weight.movedim(-1, 1), bias, padding=book.padding, dilation=book.dilation)
    torch.testing.assert_close(sparse_conv(features, weight, book, bias), at_cells(expected, book.output_coordinates))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("axes", "options"), STRIDED_CASES)
def test_inverse_equals_dense_transposed_convolution_at_the_first_cells(axes, options, device):
    book, _, weight, bias = parts(axes, options, device)
    back = book.inverse()
    features = torch.randn(len(book.output_coordinates), 5, dtype=torch.float64, device=device)
    dense = to_dense(features, book.output_coordinates, book.output_shape, 2)
    settings = dense_options(axes, options)
    bare = TRANSPOSED[axes](dense, weight.movedim(-1, 0), **settings)
    short = [want - got for want, got in zip(GRIDS[axes], bare.shape[2:])]
    full = TRANSPOSED[axes](dense, weight.movedim(-1, 0), bias, output_padding=short, **settings)
    expected = at_cells(full, book.input_coordinates)
    torch.testing.assert_close(sparse_conv(features, weight, back, bias), expected)
    assert back.inverse().gather is book.gather


def test_submanifold_rulebook_is_its_own_inverse_with_the_kernel_turned():
    book, features, weight, _ = parts(3, {"kernel_size": 3}, submanifold=True)
    turned = weight.flip(1, 2, 3)
    torch.testing.assert_close(sparse_conv(features, weight, book.inverse()), sparse_conv(features, turned, book))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [(1, 1), (4, 16), (5, 17), (16, 16), (33, 40), (64, 64), (70, 130)])
@pytest.mark.parametrize("submanifold", [True, False])
def test_gradients_equal_those_of_dense_convolution(channels, submanifold, device):
    options = {"kernel_size": 3} if submanifold else {"kernel_size": 3, "stride": 2, "padding": 1}
    book, *values = parts(3, options, device, channels, submanifold=submanifold)
    features, weight, bias = (v.requires_grad_() for v in values)
    sparse = sparse_conv(features, weight, book, bias)
    dense = to_dense(features, book.input_coordinates, GRIDS[3], 2)
    full = F.conv3d(dense, weight.movedim(-1, 1), bias, stride=book.stride, padding=book.padding)
    push = torch.randn(sparse.shape, generator=generator(3), dtype=torch.float64).to(device)
    ours = torch.autograd.grad((sparse * push).sum(), values)
    theirs = torch.autograd.grad((at_cells(full, book.output_coordinates) * push).sum(), values)
    for own, other in zip(ours, theirs):
        torch.testing.assert_close(own, other)
    single = [v.detach().float().requires_grad_() for v in values]
    low = sparse_conv(single[0], single[1], book, single[2])
    torch.testing.assert_close(low, sparse.float(), rtol=1e-4, atol=1e-4)
    for own, other in zip(torch.autograd.grad((low * push.float()).sum(), single), theirs):
        torch.testing.assert_close(own, other.float(), rtol=1e-4, atol=3e-4)


@pytest.mark.parametrize("submanifold", [True, False])
def test_gradients_and_their_gradients_by_differences(submanifold):
    options = {"kernel_size": 3} if submanifold else {"kernel_size": (2, 3), "stride": 2, "padding": 1}
    coordinates = cells((5, 4), 1, 0.5)
    book = build_rulebook(coordinates, (5, 4), 1, submanifold=submanifold, **options)
    inputs = [torch.randn(len(coordinates), 2), torch.randn(3, *book.kernel_size, 2), torch.randn(3)]
    inputs = [x.double().requires_grad_() for x in inputs]

    def forward(features, weight, bias):
        return sparse_conv(features, weight, book, bias)

    assert torch.autograd.gradcheck(forward, inputs)
    assert torch.autograd.gradgradcheck(forward, inputs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("device", DEVICES)
def test_half_features_accumulate_in_float32(dtype, device):
    book, *values = parts(3, {"kernel_size": 3}, device, (64, 32), dtype, submanifold=True)
    exact = sparse_conv(values[0].double(), values[1].double(), book, values[2].double())
    result = sparse_conv(values[0], values[1], book, values[2])
    assert result.dtype == dtype
    # One rounding of the float32 sum: half a unit in the last place, plus the float32 error.
    unit = torch.finfo(dtype).eps
    assert ((result.double() - exact).abs() <= 0.51 * unit * exact.abs() + 1e-4).all()


@pytest.mark.parametrize("device", DEVICES)
def test_autocast_casts_features_and_weight(device):
    book, *values = parts(3, {"kernel_size": 3}, device, (8, 8), torch.float32, submanifold=True)
    weight = values[1].requires_grad_()
    with torch.autocast(device, torch.bfloat16):
        result = sparse_conv(values[0], weight, book, values[2])
    assert result.dtype == torch.bfloat16
    lowered = [v.detach().bfloat16() for v in values]
    assert torch.equal(result, sparse_conv(lowered[0], lowered[1], book, lowered[2]))
    result.sum().backward()
    assert weight.grad.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("submanifold", [True, False])
def test_no_cells(device, submanifold):
    empty = torch.zeros(0, 4, dtype=torch.int32, device=device)
    book = build_rulebook(empty, (4, 5, 6), 2, kernel_size=3, padding=1, submanifold=submanifold)
    features = torch.zeros(0, 3, device=device, requires_grad=True)
    weight = torch.ones(2, 27, 3, device=device, requires_grad=True)
    result = sparse_conv(features, weight, book)
    assert result.shape == (0, 2)
    result.sum().backward()
    assert features.grad.shape == (0, 3)
    assert not weight.grad.any()


def test_a_batch_of_none_and_a_single_cell():
    none = build_rulebook(torch.zeros(0, 3, dtype=torch.int32), (4, 5), 0, kernel_size=3, submanifold=True)
    assert none.gather.shape == (9, 0)
    book = build_rulebook(torch.tensor([[0, 3, 4]]), (4, 5), 1, kernel_size=3, submanifold=True)
    assert book.gather.T.tolist() == [[-1] * 4 + [0] + [-1] * 4]


def test_strided_cells_that_reach_nothing_vanish():
    book = build_rulebook(torch.tensor([[0, 1], [0, 2], [0, 4]]), (6,), 1, kernel_size=1, stride=2)
    assert book.output_coordinates.tolist() == [[0, 1], [0, 2]]
    assert book.gather.tolist() == [[1, 2]]
    assert book.scatter.tolist() == [[-1, 0, 1]]


def test_grids_beyond_32_bits_are_safe():
    shape, batch = (3000, 40000, 50000), 3  # 1.8e13 cells
    corner = [size - 1 for size in shape]
    coordinates = torch.tensor([[2, *corner], [2, corner[0], corner[1], corner[2] - 1], [0, 0, 0, 0], [1, 0, 0, 0]])
    book = build_rulebook(coordinates, shape, batch, kernel_size=3, submanifold=True)
    assert (book.gather >= 0).sum() == 6
    assert book.gather[12, 0] == 1
    down = build_rulebook(coordinates, shape, batch, kernel_size=2, stride=2)
    assert down.output_coordinates.tolist() == [[0, 0, 0, 0], [1, 0, 0, 0], [2, 1499, 19999, 24999]]
    with pytest.raises(OperatorInputError, match="2\\^62"):
        build_rulebook(coordinates, (2**31 - 9,) * 3, batch, kernel_size=3, submanifold=True)


@pytest.mark.parametrize("submanifold", [True, False])
def test_tables_equal_the_reference_under_fuzz(submanifold):
    draw = random.Random(5)
    for seed in range(25):
        axes = draw.randint(1, 3)
        shape = tuple(draw.randint(1, 12) for _ in range(axes))
        coordinates = cells(shape, batch := draw.randint(1, 3), draw.random(), seed)
        kernel, dilation = ([draw.randint(1, 4) for _ in range(axes)] for _ in range(2))
        if submanifold:
            args = (coordinates, shape, batch, kernel, dilation, True)
            table = torch.ops.mae3d.sparse_conv_submanifold(*args)
            assert torch.equal(table, reference.sparse_conv_submanifold(*args))
            continue
        stride = [draw.randint(1, 3) for _ in range(axes)]
        padding = [draw.randint(0, 3) for _ in range(axes)]
        if any(n + 2 * p < d * (k - 1) + 1 for n, p, d, k in zip(shape, padding, dilation, kernel)):
            with pytest.raises(OperatorInputError, match="larger than the grid"):
                build_rulebook(
                    coordinates, shape, batch, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation
                )
            continue
        args = (coordinates, shape, batch, kernel, stride, padding, dilation, True)
        for own, other in zip(torch.ops.mae3d.sparse_conv_strided(*args), reference.sparse_conv_strided(*args)):
            assert torch.equal(own, other)


def test_products_equal_the_reference():
    book, features, weight, bias = parts(3, {"kernel_size": 3, "stride": 2, "padding": 1}, channels=(6, 9))
    flat = weight.flatten(1, 3)
    for transposed, w, x in ((False, flat, features), (True, flat, torch.randn(len(features), 9).double())):
        offset = None if transposed else bias
        args = (x, w, offset, book.gather, book.scatter, transposed)
        torch.testing.assert_close(torch.ops.mae3d.sparse_conv(*args), reference.sparse_conv(*args))
        grad = torch.randn(book.gather.shape[1], 4, dtype=torch.float64)
        args = (x, grad, book.gather, book.scatter, transposed)
        own, other = torch.ops.mae3d.sparse_conv_weight_grad(*args), reference.sparse_conv_weight_grad(*args)
        torch.testing.assert_close(own, other)


def test_same_numbers_for_every_number_of_threads():
    coordinates = cells((20, 60, 60), 2, 0.2)
    features = torch.randn(len(coordinates), 20, requires_grad=True)
    weight = torch.randn(24, 3, 3, 3, 20, requires_grad=True)
    results = []
    for threads in (1, 2, 2):
        torch.set_num_threads(threads)
        book = build_rulebook(coordinates, (20, 60, 60), 2, kernel_size=3, submanifold=True)
        down = build_rulebook(coordinates, (20, 60, 60), 2, kernel_size=3, stride=2, padding=1)
        out = sparse_conv(features, weight, book)
        results.append((book.gather, *down[1:4], out, *torch.autograd.grad(out.square().sum(), (features, weight))))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_row_order_does_not_change_strided_cells_and_permutes_submanifold_rows():
    coordinates = cells(GRIDS[3])
    order = torch.randperm(len(coordinates), generator=generator(9))
    features = torch.randn(len(coordinates), 4, dtype=torch.float64)
    weight = torch.randn(4, 27, 4, dtype=torch.float64)
    for submanifold in (True, False):
        first = build_rulebook(coordinates, GRIDS[3], 2, kernel_size=3, padding=1, submanifold=submanifold)
        second = build_rulebook(coordinates[order], GRIDS[3], 2, kernel_size=3, padding=1, submanifold=submanifold)
        expected = sparse_conv(features, weight, first)
        expected = expected[order] if submanifold else expected
        torch.testing.assert_close(sparse_conv(features[order], weight, second), expected)


def test_arguments_of_the_wrong_kind_are_named():
    book, features, weight, bias = parts(2, {"kernel_size": 3}, submanifold=True)
    for args, words in [
        ((features[:-1], weight, book), "'features' must have shape"),
        ((features, weight[..., :-1], book), "'weight' must have shape"),
        ((features, weight.float(), book), "'weight' must have dtype float64"),
        ((features, weight, book, bias[:-1]), "'bias' must have shape"),
        ((features.int(), weight, book), "'features' must have dtype"),
    ]:
        with pytest.raises(OperatorInputError, match=words):
            sparse_conv(*args)
    coordinates = book.input_coordinates
    for change, words in [
        ({"coordinates": coordinates.float()}, "'coordinates' must have dtype"),
        ({"coordinates": coordinates[:, :1]}, "2, 3 or 4 columns"),
        ({"spatial_shape": (3,)}, "'spatial_shape' must be"),
        ({"kernel_size": 0}, "'kernel_size' must be >= 1"),
        ({"stride": 2}, "has stride 1"),
        ({"batch_size": -1}, "'batch_size' must be >= 0"),
    ]:
        options = {"coordinates": coordinates, "spatial_shape": GRIDS[2], "batch_size": 2, "kernel_size": 3} | change
        with pytest.raises(OperatorInputError, match=words):
            build_rulebook(**options, submanifold=True)


def test_strided_memory_is_read_right():
    book, features, weight, bias = parts(3, {"kernel_size": 3}, submanifold=True)
    wide = torch.stack((features, features), dim=-1)[..., 0]
    turned = weight.movedim(-1, 0).contiguous().movedim(0, -1)
    torch.testing.assert_close(sparse_conv(wide, turned, book, bias), sparse_conv(features, weight, book, bias))


@pytest.mark.parametrize("submanifold", [True, False])
def test_operators_are_registered_right(submanifold):
    options = {"kernel_size": 3} if submanifold else {"kernel_size": 3, "stride": 2, "padding": 1}
    book, features, weight, bias = parts(2, options, channels=(2, 3), dtype=torch.float32, submanifold=submanifold)
    ops = torch.ops.mae3d
    flat = weight.flatten(1, 2).requires_grad_()
    features.requires_grad_()
    check_op(ops.sparse_conv.default, (features, flat, bias.requires_grad_(), book.gather, book.scatter, False))
    grad = torch.randn(book.gather.shape[1], 3, requires_grad=True)
    check_op(ops.sparse_conv_weight_grad.default, (features, grad, book.gather, book.scatter, False))
    size = [book.batch_size, list(book.kernel_size)]
    if submanifold:
        args = (book.input_coordinates, list(GRIDS[2]), *size, list(book.dilation), True)
        check_op(ops.sparse_conv_submanifold.default, args)
    else:
        rest = (list(book.stride), list(book.padding), list(book.dilation), True)
        check_op(ops.sparse_conv_strided.default, (book.input_coordinates, list(GRIDS[2]), *size, *rest))
    assert {"sparse_conv", "sparse_conv_weight_grad", "sparse_conv_submanifold", "sparse_conv_strided"} <= set(
        OPERATORS
    )


def test_traces_without_a_graph_break():
    coordinates = cells(GRIDS[3])
    features, weight = torch.randn(len(coordinates), 4), torch.randn(6, 27, 4)

    def subm(x, w):
        return sparse_conv(x, w, build_rulebook(coordinates, GRIDS[3], 2, kernel_size=3, submanifold=True))

    check_compiles(subm, features, weight)

    def strided(x, w):
        return sparse_conv(x, w, build_rulebook(coordinates, GRIDS[3], 2, kernel_size=3, stride=2, padding=1))

    check_compiles(strided, features, weight)
