"""three_weights and three_interpolate against closed forms, float64 gradients and the published recipe."""

from __future__ import annotations

import pytest
import torch

from mae3d.errors import OperatorInputError
from mae3d.ops.knn import three_nn
from mae3d.ops.reference import three_interpolate as reference
from mae3d.ops.three_interpolate import three_interpolate, three_weights
from tests.ops.harness import DEVICES, check_compiles, check_grad, check_op, generator, pack, random_cloud


def case(batch: int = 2, rows: int = 20, queries: int = 33, channels: int = 7, seed: int = 0) -> tuple:
    g = generator(seed)
    features = torch.randn(batch, rows, channels, generator=g)
    indices = torch.randint(-1, rows, (batch, queries, 3), generator=g)
    return features, indices, torch.rand(batch, queries, 3, generator=g)


def test_weights_in_closed_form() -> None:
    inf = torch.inf
    weights = three_weights(torch.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 1.0], [2.0, inf, inf], [inf, inf, inf]]))
    expected = torch.tensor([[4 / 7, 2 / 7, 1 / 7], [1.0, 1e-8, 1e-8], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(weights, expected)


def test_weights_have_finite_gradients_beside_padding() -> None:
    distances = torch.tensor([[0.5, 0.25, torch.inf], [torch.inf] * 3], requires_grad=True)
    three_weights(distances)[..., 0].sum().backward()
    assert distances.grad.isfinite().all()
    assert (distances.grad == 0).sum() == 4
    check_grad(three_weights, torch.rand(4, 3, generator=generator(0)) + 0.1)


@pytest.mark.parametrize("device", DEVICES)
def test_feature_propagation_equals_the_published_recipe(device: str) -> None:
    """Expanded-form distances, full sort, 1 / (d + 1e-8), as in the PointNet++ port used by segmentation heads."""
    points, queries = random_cloud(2, 128, seed=1), random_cloud(2, 500, seed=2)
    features = torch.randn(2, 128, 24, generator=generator(3))
    a, b = queries.double(), points.double()
    squared = (a * a).sum(-1)[:, :, None] - 2 * a @ b.transpose(1, 2) + (b * b).sum(-1)[:, None]
    nearest, order = squared.sort(dim=-1)
    inverse = 1 / (nearest[..., :3] + 1e-8)
    weight = inverse / inverse.sum(-1, keepdim=True)
    rows = features.double()[torch.arange(2)[:, None, None], order[..., :3]]
    found = three_nn(queries.to(device), points.to(device))
    ours = three_interpolate(features.to(device), found.indices, three_weights(found.squared_distances))
    torch.testing.assert_close(ours.cpu().double(), (rows * weight[..., None]).sum(2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("channels", [1, 7, 384])
def test_equals_reference(dtype: torch.dtype, channels: int, device: str) -> None:
    features, indices, weights = (x.to(device) for x in case(channels=channels))
    features = features.to(dtype)
    result = three_interpolate(features, indices, weights)
    assert result.dtype == dtype
    exact = reference.three_interpolate(features.double(), indices, weights.double())
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-5)
    torch.testing.assert_close(result.double(), exact, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_gradients_equal_float64(dtype: torch.dtype, device: str) -> None:
    features, indices, weights = (x.to(device) for x in case(channels=70))
    features = features.to(dtype).requires_grad_()
    weights.requires_grad_()
    grad = torch.randn(2, 33, 70, generator=generator(9)).to(device, dtype)
    three_interpolate(features, indices, weights).backward(grad)
    exact = [x.detach().double().requires_grad_() for x in (features, weights)]
    reference.three_interpolate(exact[0], indices, exact[1]).backward(grad.double())
    tolerance = {torch.float16: 2e-3, torch.bfloat16: 2e-2}.get(dtype, 1e-5)
    for ours, theirs in zip((features, weights), exact):
        torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=tolerance, atol=tolerance)


def test_gradcheck() -> None:
    features, indices, weights = case(rows=5, queries=6, channels=4)
    check_grad(lambda f, w: three_interpolate(f, indices, w), features, weights)
    check_grad(lambda f, w: three_interpolate(f, indices[0], w), features[0], weights[0])


@pytest.mark.parametrize("device", DEVICES)
def test_packed_equals_dense_per_cloud(device: str) -> None:
    clouds = [random_cloud(1, n, seed=n)[0] for n in (5, 700, 2)]
    points, offsets = pack(clouds)
    queries, queries_offsets = pack([random_cloud(1, n, seed=50 + n)[0] for n in (3, 40, 9)])
    features = torch.randn(len(points), 6, generator=generator(1))
    points, queries, features, offsets, queries_offsets = (
        x.to(device) for x in (points, queries, features, offsets, queries_offsets)
    )
    found = three_nn(queries, points, points_offsets=offsets, queries_offsets=queries_offsets)
    result = three_interpolate(features, found.indices, three_weights(found.squared_distances))
    for b in range(3):
        p, q = slice(offsets[b], offsets[b + 1]), slice(queries_offsets[b], queries_offsets[b + 1])
        dense = three_nn(queries[None, q], points[None, p])
        wanted = three_interpolate(features[None, p], dense.indices, three_weights(dense.squared_distances))
        assert torch.equal(result[q], wanted[0])


def test_backward_is_the_same_for_any_number_of_threads() -> None:
    features, indices, weights = case(batch=1, rows=50, queries=3000, channels=130)
    grads = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        leaf = features.clone().requires_grad_()
        three_interpolate(leaf, indices, weights).square().sum().backward()
        grads.append(leaf.grad)
    assert torch.equal(grads[0], grads[1])
    assert torch.equal(grads[0], grads[2])


@pytest.mark.parametrize("shape", [(0, 4, 3, 2), (2, 4, 0, 2), (2, 4, 3, 0)])
def test_empty(shape: tuple[int, ...]) -> None:
    batch, rows, queries, channels = shape
    leaf = torch.rand(batch, rows, channels, requires_grad=True)
    result = three_interpolate(leaf, torch.zeros(batch, queries, 3, dtype=torch.int64), torch.rand(batch, queries, 3))
    result.sum().backward()
    assert result.shape == (batch, queries, channels)
    assert (leaf.grad == 0).all() or queries > 0


def test_no_rows_and_only_padding() -> None:
    features, indices = torch.zeros(1, 0, 5), torch.full((1, 4, 3), -1)
    assert (three_interpolate(features, indices, torch.rand(1, 4, 3)) == 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_registration(device: str) -> None:
    features, indices, weights = (x.to(device) for x in case())
    op = torch.ops.mae3d.three_interpolate.default
    check_op(op, (features.requires_grad_(), indices, weights.requires_grad_()))
    check_op(op, (features[0].detach().requires_grad_(), indices[0], weights[0].detach()))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles(device: str) -> None:
    features, indices, weights = (x.to(device) for x in case())
    check_compiles(lambda f, w: three_interpolate(f, indices, three_weights(w)), features, weights)


def test_wrong_arguments_are_named() -> None:
    features, indices, weights = case()
    with pytest.raises(OperatorInputError, match=r"'indices' must have shape \[2, \*, \*\]"):
        three_interpolate(features, indices[:1], weights)
    with pytest.raises(OperatorInputError, match=r"'weights' must have shape \[2, 33, 3\]"):
        three_interpolate(features, indices, weights[..., :2])
    with pytest.raises(OperatorInputError, match="'indices' must have dtype int64"):
        three_interpolate(features, indices.int(), weights)
    with pytest.raises(RuntimeError, match="'indices' entry 4 is 20, but there are only 20 feature rows"):
        three_interpolate(
            features, indices.index_put((torch.tensor(0), torch.tensor(1), torch.tensor(1)), torch.tensor(20)), weights
        )
