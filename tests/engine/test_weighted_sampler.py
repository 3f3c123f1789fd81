"""Samples drawn by weight: frequencies, repeats, positions inside an epoch."""

import pytest
import torch

from mae3d.datasets.audio import AudioTable
from mae3d.engine.sampling import WeightedSampler
from mae3d.errors import ConfigError


class Weighted:
    def __init__(self, weights):
        self.weights = torch.tensor(weights, dtype=torch.float64)

    def __len__(self):
        return len(self.weights)

    def sample_weights(self):
        return self.weights


def test_frequencies_follow_the_weights():
    sampler = WeightedSampler(Weighted([1.0, 2.0, 0.0, 5.0]), 8000, replacement=True, seed=0)
    counts = torch.tensor(list(map(int, sampler))).bincount(minlength=4) / 8000
    assert len(sampler) == 8000
    assert counts[2] == 0
    torch.testing.assert_close(counts, torch.tensor([1, 2, 0, 5]) / 8, atol=0.02, rtol=0)


def test_without_replacement_heavy_samples_come_and_none_comes_twice():
    weights = [100.0] * 10 + [0.01] * 90
    sampler = WeightedSampler(Weighted(weights), 12, seed=0)
    drawn = list(map(int, sampler))
    assert len(set(drawn)) == 12
    assert set(range(10)) <= set(drawn)
    assert sorted(map(int, WeightedSampler(Weighted(weights), seed=1))) == list(range(100))


def test_epochs_positions_and_ranks():
    sampler = WeightedSampler(Weighted([1.0] * 50), 21, seed=3)
    first = list(sampler)
    assert list(sampler) == first
    assert [key.seed for key in sampler] == [key.seed for key in first]
    sampler.set_position(0, 5)
    assert list(sampler) == first[5:]
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    shares = []
    for rank in (0, 1):
        sampler.rank, sampler.world_size = rank, 2
        shares.append(list(sampler))
        assert len(shares[rank]) == len(sampler) == 11
    assert [key for pair in zip(*shares) for key in pair] == [*first, first[0]]


def test_every_rank_has_a_share_of_few_draws():
    sampler = WeightedSampler(Weighted([1.0] * 50), 2, seed=3)
    first = list(sampler)
    sampler.world_size = 5
    shares = []
    for rank in range(5):
        sampler.rank = rank
        shares += sampler
        assert len(sampler) == 1
    assert shares == [*first, *first, first[0]]


def test_what_cannot_be_drawn_is_named():
    with pytest.raises(ConfigError, match=r"list has no sample_weights\(\)"):
        WeightedSampler([1, 2])
    with pytest.raises(ConfigError, match="3 draws from 2 samples with a weight; set replacement=True"):
        WeightedSampler(Weighted([1.0, 0.0, 2.0]))
    with pytest.raises(ConfigError, match="samples must be positive, got 0"):
        WeightedSampler(Weighted([1.0]), 0)
    part = Weighted([1.0, 2.0])
    part.sample_weights = lambda: torch.ones(5)
    with pytest.raises(ConfigError, match="5 weights for 2 samples"):
        WeightedSampler(part)


def test_weights_of_a_table_balance_its_classes(tmp_path):
    (tmp_path / "t.csv").write_text('filename,labels\na,"x,y"\nb,x\nc,x\nd,"z,x"\n')
    data = AudioTable(tmp_path / "t.csv", label="labels", multi_label=True)
    x, once = 1 / 4.01, 1 / 1.01
    assert data.sample_weights().tolist() == pytest.approx([x + once, x, x, once + x])
