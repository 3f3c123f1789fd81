"""Generation metrics against loops, closed forms and the properties of the specification."""

import math

import pytest
import torch

from mae3d.errors import ConfigError, DataError
from mae3d.evaluation import GenerationMetric
from mae3d.evaluation.generation import (
    compare_sets,
    coverage,
    jensen_shannon,
    nearest_neighbour_accuracy,
    occupancy,
)
from mae3d.evaluation.pairwise_clouds import pairwise_distances
from mae3d.ops import earth_mover_distance


def clouds(count, points=24, seed=0, shift=0.0):
    return 0.2 * torch.randn(count, points, 3, generator=torch.Generator().manual_seed(seed)) + shift


def chamfer_loop(a, b):
    squared = (a[:, None] - b[None]).square().sum(-1)
    return squared.amin(1).mean() + squared.amin(0).mean()


@pytest.mark.parametrize("pairs", [None, 1, 7])
def test_pairwise_chamfer_equals_a_loop(pairs):
    a, b = clouds(5), clouds(4, 30, seed=1)
    expected = torch.stack([torch.stack([chamfer_loop(x, y) for y in b]) for x in a])
    torch.testing.assert_close(pairwise_distances(a, b, pairs=pairs), expected, rtol=1e-5, atol=1e-6)
    own = torch.stack([torch.stack([chamfer_loop(x, y) for y in a]) for x in a])
    torch.testing.assert_close(pairwise_distances(a, pairs=pairs), own, rtol=1e-5, atol=1e-6)


def test_pairwise_earth_mover_keeps_the_order_of_each_pair():
    a = clouds(3)
    found = pairwise_distances(a, kind="emd")
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(found[i, j], earth_mover_distance(a[i : i + 1], a[j : j + 1]).cost[0])


def test_progress_is_reported():
    seen = []
    pairwise_distances(clouds(4), pairs=4, report=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 6), (6, 6)]  # above the diagonal


def test_property_8_equal_sets():
    references = clouds(12)
    found = compare_sets(references.clone(), references)
    assert found["mmd_cd"] == 0
    assert found["mmd_emd"] == pytest.approx(0, abs=1e-3)
    assert (found["cov_cd"], found["cov_emd"]) == (1, 1)


def test_property_8_swapped_labels_leave_1nna():
    a, b = clouds(9), clouds(9, seed=1, shift=0.05)
    own, other, across = pairwise_distances(a), pairwise_distances(b), pairwise_distances(a, b)
    first = nearest_neighbour_accuracy(own, other, across)
    assert first == nearest_neighbour_accuracy(other, own, across.T)
    assert 0 < first < 1


def test_1nna_tells_different_sets_apart_and_equal_ones_not():
    same = compare_sets(clouds(40, seed=1), clouds(40, seed=2), ["cd"])["1nna_cd"]
    apart = compare_sets(clouds(40, seed=1), clouds(40, seed=2, shift=1.0), ["cd"])["1nna_cd"]
    assert apart == 1
    assert 0.3 < same < 0.7


def test_1nna_equals_a_loop():
    a, b = clouds(6), clouds(5, seed=1)
    everything, label = [*a, *b], [True] * 6 + [False] * 5
    right = 0
    for i, cloud in enumerate(everything):
        others = [j for j in range(11) if j != i]
        nearest = min(others, key=lambda j: chamfer_loop(cloud, everything[j]).item())
        right += label[nearest] == label[i]
    found = nearest_neighbour_accuracy(pairwise_distances(a), pairwise_distances(b), pairwise_distances(a, b))
    assert found == pytest.approx(right / 11)


def test_coverage_of_a_collapsed_model_is_one_reference():
    distances = torch.tensor([[1.0, 2.0, 4.0], [0.5, 3.0, 4.0]])  # both samples are nearest to reference 0
    mmd, cov = coverage(distances)
    assert mmd == pytest.approx((0.5 + 2 + 4) / 3)
    assert cov == pytest.approx(1 / 3)


def test_jensen_shannon_in_bits():
    p, q = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64), torch.tensor([0.0, 0.5, 0.5], dtype=torch.float64)
    assert jensen_shannon(p, p) == pytest.approx(0, abs=1e-12)
    assert jensen_shannon(torch.eye(2)[0].double(), torch.eye(2)[1].double()) == pytest.approx(1)
    assert jensen_shannon(p, q) == pytest.approx(1.5 - 1)  # entropy of (1/4, 1/2, 1/4) less the mean of 1 and 1


def test_occupancy_counts_at_the_nearest_node_inside_the_sphere():
    nodes = [
        (x, y, z)
        for x in torch.linspace(-0.5, 0.5, 5)
        for y in torch.linspace(-0.5, 0.5, 5)
        for z in torch.linspace(-0.5, 0.5, 5)
        if math.sqrt(x**2 + y**2 + z**2) <= 0.5 + 1e-6
    ]
    points = torch.tensor([[[0.0, 0.01, 0.0], [0.02, 0.0, 0.0], [9.0, 0.0, 0.0], [0.26, 0.0, 0.0]]])
    share = occupancy(points, 5)
    assert len(share) == len(nodes)
    wanted = torch.zeros(len(nodes), dtype=torch.float64)
    for place, weight in (((0, 0, 0), 0.5), ((0.5, 0, 0), 0.25), ((0.25, 0, 0), 0.25)):
        wanted[[tuple(map(float, node)) for node in nodes].index(place)] = weight
    torch.testing.assert_close(share, wanted)


def feed(metric, samples, references, batch=4):
    for start in range(0, len(samples), batch):
        rows = zip(samples[start : start + batch], references[start : start + batch])
        metric.process([{"sample": sample, "reference": reference} for sample, reference in rows])


def test_metric_over_batches_equals_full_sets():
    samples, references = clouds(10), clouds(10, seed=1)
    metric = GenerationMetric()
    feed(metric, samples, references)
    found = metric.compute()
    assert {name: found[name] for name in found if name != "jsd"} == compare_sets(samples, references)
    assert 0 < found["jsd"] < 1
    averaged = GenerationMetric(["cd"], per_batch=5, jsd=False)
    feed(averaged, samples, references)
    halves = [compare_sets(samples[i : i + 5], references[i : i + 5], ["cd"]) for i in (0, 5)]
    for name, value in averaged.compute().items():
        assert value == pytest.approx((halves[0][name] + halves[1][name]) / 2)
        assert value != found[name]


def test_wrong_input():
    with pytest.raises(ConfigError, match="distances must be among"):
        GenerationMetric(["l2"])
    with pytest.raises(ConfigError, match="per_batch must be at least 2"):
        GenerationMetric(per_batch=1)
    with pytest.raises(ConfigError, match="kind must be one of"):
        pairwise_distances(clouds(2), kind="l2")
    with pytest.raises(DataError, match=r"a must be \[S, P, 3\]"):
        pairwise_distances(torch.zeros(2, 0, 3))
    metric = GenerationMetric(["cd"])
    with pytest.raises(DataError, match="needs sample, reference of every sample"):
        metric.process([{"sample": clouds(1)[0]}])
    feed(metric, clouds(1), clouds(1))
    with pytest.raises(DataError, match="at least two clouds"):
        metric.compute()
    broken = clouds(3)
    broken[1, 0, 0] = torch.nan
    metric = GenerationMetric(["cd"])
    feed(metric, broken, clouds(3))
    with pytest.raises(DataError, match="sample: 1 of 3 clouds hold NaN or infinite points, the first is 1"):
        metric.compute()
    metric = GenerationMetric(["cd"])
    feed(metric, [torch.zeros(4, 3), torch.zeros(5, 3)], clouds(2))
    with pytest.raises(DataError, match="one number of points"):
        metric.compute()
