"""Transforms against numpy restatements of the published augmentations, and their statistics."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mae3d.datasets.transforms import (
    Jitter,
    RandomDropout,
    RandomScale,
    RandomShift,
    RotateY,
    SampleFarthest,
    SampleRandom,
    ScaleAndTranslate,
)
from mae3d.errors import ConfigError, DataError

B, N = 600, 40


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(5)
    points = torch.randn(B, N, 6, generator=generator)
    points[..., 3:] = torch.nn.functional.normalize(points[..., 3:], dim=-1)
    return {"points": points, "part_label": torch.arange(N).repeat(B, 1), "label": torch.arange(B)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def uniform(values, low, high) -> float:
    return stats.kstest(np.asarray(values).ravel(), stats.uniform(low, high - low).cdf).pvalue


def affine_fit(before: torch.Tensor, after: torch.Tensor) -> np.ndarray:
    """Factor and shift [B, 3, 2] that take ``before`` to ``after`` per axis, by least squares."""
    fits = [
        [np.polyfit(before[b, :, axis].numpy(), after[b, :, axis].numpy(), 1) for axis in range(3)]
        for b in range(len(before))
    ]
    return np.array(fits)


def test_scale_and_translate_draws_one_factor_and_shift_per_axis(batch):
    before = batch["points"].clone()
    after = ScaleAndTranslate()(batch, seeded())["points"]
    fit = affine_fit(before, after)
    restated = before[..., :3].numpy() * fit[:, None, :, 0] + fit[:, None, :, 1]
    np.testing.assert_allclose(after[..., :3].numpy(), restated, atol=1e-5)
    assert uniform(fit[..., 0], 2 / 3, 3 / 2) > 1e-3
    assert uniform(fit[..., 1], -0.2, 0.2) > 1e-3
    assert abs(np.corrcoef(fit[:, 0, 0], fit[:, 1, 0])[0, 1]) < 0.15
    torch.testing.assert_close(batch["points"], before)


def test_isotropic_scale_shares_the_factor_and_keeps_normals(batch):
    after = RandomScale(0.8, 1.25, isotropic=True)(batch, seeded())["points"]
    factor = after[..., :3] / batch["points"][..., :3]
    assert (factor.amax((1, 2)) - factor.amin((1, 2))).max() < 1e-4
    assert uniform(factor[:, 0, 0], 0.8, 1.25) > 1e-3
    torch.testing.assert_close(after[..., 3:], batch["points"][..., 3:])


def test_normals_follow_anisotropic_scale():
    # A plane x + y + z = 1 scaled per axis keeps its normal at right angles to it.
    flat = torch.rand(50, 30, 2, generator=seeded())
    points = torch.cat([flat, 1 - flat.sum(-1, keepdim=True), torch.full((50, 30, 3), 3**-0.5)], dim=-1)
    after = RandomScale()({"points": points}, seeded())["points"]
    edges = after[:, 1:, :3] - after[:, :1, :3]
    assert (edges * after[:, 1:, 3:]).sum(-1).abs().max() < 1e-5
    assert (after[..., 3:].norm(dim=-1) - 1).abs().max() < 1e-5


def test_rotation_restated_in_numpy(batch):
    after = RotateY()(batch, seeded())["points"].numpy()
    before = batch["points"].numpy()
    for b in range(0, B, 50):
        angle = math.atan2(
            (before[b, :, 0] * after[b, :, 2] - before[b, :, 2] * after[b, :, 0]).sum(),
            (before[b, :, 0] * after[b, :, 0] + before[b, :, 2] * after[b, :, 2]).sum(),
        )
        c, s = math.cos(angle), math.sin(angle)
        matrix = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        np.testing.assert_allclose(after[b, :, :3], before[b, :, :3] @ matrix, atol=1e-5)
        np.testing.assert_allclose(after[b, :, 3:], before[b, :, 3:] @ matrix, atol=1e-5)


def test_rotation_angles_are_uniform_or_shared():
    points = torch.zeros(2000, 1, 3)
    points[..., 0] = 1
    turned = RotateY()({"points": points}, seeded())["points"][:, 0]
    assert uniform(torch.atan2(turned[:, 2], turned[:, 0]) % (2 * math.pi), 0, 2 * math.pi) > 1e-3
    shared = RotateY(shared=True)({"points": points}, seeded(1))["points"][:, 0]
    assert len(shared.unique(dim=0)) == 1


def test_shift_and_jitter(batch):
    moved = RandomShift(0.1)(batch, seeded())["points"][..., :3] - batch["points"][..., :3]
    assert (moved - moved[:, :1]).abs().max() < 1e-6
    assert uniform(moved[:, 0], -0.1, 0.1) > 1e-3
    noise = (Jitter(0.02, 0.05)(batch, seeded())["points"] - batch["points"])[..., :3].double().numpy()
    assert np.abs(noise).max() < 0.05 + 1e-6
    clipped = stats.norm.cdf(-2.5) * 2
    assert np.mean(np.abs(noise) > 0.05 - 1e-6) == pytest.approx(clipped, abs=3e-3)
    assert np.quantile(noise, 0.75) == pytest.approx(0.02 * stats.norm.ppf(0.75), rel=0.03)


def test_dropout_replaces_by_point_zero_and_its_label(batch):
    result = RandomDropout(0.875)(batch, seeded())
    kept = (result["points"] == batch["points"]).all(-1)
    zero = (result["points"] == batch["points"][:, :1]).all(-1)
    assert (kept | zero).all()
    torch.testing.assert_close(result["part_label"], torch.where(kept, batch["part_label"], 0))
    ratio = 1 - kept[:, 1:].double().mean(1)
    assert ratio.mean() == pytest.approx(0.4375, abs=0.03)
    # Uniform ratio plus binomial noise of N points.
    assert ratio.var() == pytest.approx(0.875**2 / 12 + (0.4375 - (0.875**2) / 3) / (N - 1), rel=0.15)


def numpy_farthest(points: np.ndarray, count: int) -> np.ndarray:
    chosen, distance = [0], np.full(len(points), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(distance.argmax()))
    return np.array(chosen)


def test_test_sampling_is_furthest_point_sampling(batch):
    small = {name: value[:4] for name, value in batch.items()}
    result = SampleFarthest(7)(small)
    for b in range(4):
        index = numpy_farthest(small["points"][b, :, :3].double().numpy(), 7)
        np.testing.assert_array_equal(result["part_label"][b], index)
        torch.testing.assert_close(result["points"][b], small["points"][b, index])


def test_training_sampling_shares_one_random_set_of_the_pool(batch):
    small = {name: value[:4] for name, value in batch.items()}
    result = SampleFarthest(10, pool=16)(small, seeded(3))
    places = []
    for b in range(4):
        pool = numpy_farthest(small["points"][b, :, :3].double().numpy(), 16).tolist()
        places.append([pool.index(i) for i in result["part_label"][b].tolist()])
    assert all(place == places[0] for place in places)
    assert len(set(places[0])) == 10
    assert places[0] != sorted(places[0])


def test_published_pool_and_capping():
    assert SampleFarthest(1024, "published").pool == 1200
    assert SampleFarthest(8192, "published").pool == 8192
    points = torch.randn(2, 1100, 3, generator=seeded())
    result = SampleFarthest(1024, "published")({"points": points}, seeded())["points"]
    assert result.shape == (2, 1024, 3)
    assert len(result[0].unique(dim=0)) == 1024
    with pytest.raises(ConfigError, match="is defined for 1024, 2048, 4096, 8192 points, got 512"):
        SampleFarthest(512, "published")
    with pytest.raises(DataError, match="clouds have 1100 points, 2048 are wanted"):
        SampleFarthest(2048)({"points": points})


def test_origin_skip_gives_duplicates_as_published():
    points = torch.randn(1, 64, 3, generator=seeded())
    points[0, 5:9] *= 1e-3
    plain = SampleFarthest(64, 64)({"points": points}, seeded())["points"][0]
    published = SampleFarthest(64, 64, skip_near_origin=1e-3)({"points": points}, seeded())["points"][0]
    assert len(plain.unique(dim=0)) == 64
    assert len(published.unique(dim=0)) == 60


def test_random_subset_is_shared_and_seeded(batch):
    first = SampleRandom(9)(batch, seeded())
    assert (first["part_label"] == first["part_label"][:1]).all()
    torch.testing.assert_close(first, SampleRandom(9)(batch, seeded()))


@pytest.mark.parametrize(
    "build", [lambda: RandomScale(0, 1), lambda: RandomScale(2, 1), lambda: RandomDropout(1.5), lambda: Jitter(-1)]
)
def test_impossible_settings_are_refused(build):
    with pytest.raises(ConfigError):
        build()


@pytest.mark.gpu
@pytest.mark.parametrize(
    "transform",
    [ScaleAndTranslate(), RotateY(), Jitter(), RandomDropout(), SampleRandom(9), SampleFarthest(10, pool=16)],
    ids=lambda transform: type(transform).__name__,
)
def test_the_device_changes_nothing_but_rounding(batch, transform):
    on_device = transform({name: value.cuda() for name, value in batch.items()}, seeded())
    assert all(value.is_cuda for value in on_device.values())
    torch.testing.assert_close({name: value.cpu() for name, value in on_device.items()}, transform(batch, seeded()))
