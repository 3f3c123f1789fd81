"""Whole-word masks: budgets, words kept whole, and RetroMAE's mask of each position."""

import random
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mae3d.errors import ConfigError
from mae3d.models.layers import Packing
from mae3d.models.masking import EnhancedMasking
from mae3d.models.masking.words import draw_words, take_words, word_budget
from tests.models.batches import token_batch
from tests.oracles.retro_mae import greedy_words, whole_word_mask


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.integers(1, 20))
def test_words_are_taken_while_they_fit(lengths, budget):
    taken = take_words(torch.tensor([lengths]), torch.tensor([budget]))
    assert taken[0].tolist() == greedy_words(lengths, budget)


def test_budget_rounds_halves_to_even():
    lengths = torch.arange(1, 2000)
    for ratio in (0.3, 0.5, 0.25):
        expected = [min(512, max(1, round(n * ratio))) for n in lengths.tolist()]
        assert word_budget(lengths, ratio).tolist() == expected
    assert word_budget(torch.tensor([5, 15]), 0.5).tolist() == [2, 8]


PIECES = ["[CLS]", "un", "##aff", "##able", "a", "plane", "##s", "b", "c", "play", "##ing", "d", "[SEP]"]
WORDS = [-1, 0, 0, 0, 1, 2, 2, 3, 4, 5, 5, 6, -1]


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_the_distribution_is_that_of_the_official_collator(ratio):
    words = torch.tensor([WORDS])
    draws = draw_words(words, word_budget(torch.tensor([13]), ratio), 20000, torch.Generator().manual_seed(0))[0]
    rng = random.Random(0)
    official = torch.tensor([whole_word_mask(PIECES, ratio, rng) for _ in range(20000)])
    # sqrt(0.25 / 20000) * sqrt(2) is 0.005: four deviations of the difference of two shares
    torch.testing.assert_close(draws.double().mean(0), official.double().mean(0), atol=0.02, rtol=0)
    counts, expected = draws.sum(1).bincount(minlength=9), official.sum(1).bincount(minlength=9)
    torch.testing.assert_close(counts / 20000, expected / 20000, atol=0.02, rtol=0)
    pairs, expected = (mask.double().T @ mask.double() / 20000 for mask in (draws, official))
    torch.testing.assert_close(pairs, expected, atol=0.02, rtol=0)


def drawn(seed=0, draws=256, batch=None, **options):
    batch = batch or token_batch(seed)
    masking = EnhancedMasking(vocab_size=160, draws=draws, **options)
    packing = Packing.from_offsets(batch["offsets"])
    mask = masking(batch["tokens"], batch["words"], packing, torch.Generator().manual_seed(seed))
    return batch, packing, mask


def test_words_are_hidden_whole_and_within_the_budget():
    for seed in range(20):
        batch, packing, _ = drawn(seed)
        numbers = packing.pad(batch["words"], -1)
        budget = word_budget(batch["offsets"].diff(), 0.3)
        hidden = draw_words(numbers, budget, 3, torch.Generator().manual_seed(seed))
        assert (hidden.sum(2) <= budget[:, None]).all()
        assert not hidden[(numbers < 0)[:, None].expand_as(hidden)].any()
        for text, row in zip(numbers, hidden):
            for word in range(int(text.max()) + 1):
                inside = row[:, text == word]
                assert (inside.all(1) | ~inside.any(1)).all()


def test_special_ids_are_never_predicted_and_count_in_the_budget():
    batch = token_batch(0)
    batch["tokens"][1:11] = 100  # a text of unknown words alone
    for seed in range(10):
        _, _, mask = drawn(seed, batch=batch)
        assert not mask.masked[:12].any()
        assert mask.masked[15:].any()


def test_corruption_follows_its_shares():
    masking = EnhancedMasking(vocab_size=1000)
    tokens = torch.full((40000,), 500)
    masked = torch.zeros(40000, dtype=torch.bool)
    masked[:30000] = True
    changed = masking.corrupt(tokens, masked, torch.Generator().manual_seed(0))
    assert (changed[30000:] == 500).all()
    part = changed[:30000]
    assert (part == 103).double().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (part == 500).double().mean().item() == pytest.approx(0.1, abs=0.01)
    other = part[(part != 103) & (part != 500)]
    assert len(other) / 30000 == pytest.approx(0.1, abs=0.01)
    assert other.min() < 20
    assert other.max() > 980


def test_what_positions_of_the_decoder_see():
    for seed in range(10):
        batch, _, mask = drawn(seed)
        for matrix, (start, end) in zip(mask.seen, pairwise(batch["offsets"].tolist())):
            n = end - start
            assert not matrix.diagonal().any()
            assert matrix[1:n, 0].all()
            assert matrix[: n - 1, n - 1].all()
            assert not matrix[n:].any()
            assert not matrix[:, n:].any()


def test_every_row_is_one_whole_word_mask_of_a_shared_pool():
    words = torch.tensor([-1, *range(200), -1])
    batch = {"tokens": torch.full((202,), 110), "words": words, "offsets": torch.tensor([0, 202])}
    _, _, mask = drawn(draws=4, batch=batch)
    own = torch.eye(202, dtype=torch.bool)
    kinds = []  # rows that differ beyond the columns of their own tokens
    for number, row in enumerate(mask.seen[0]):
        if not any(((row == mask.seen[0][other]) | own[number] | own[other]).all() for other in kinds):
            kinds.append(number)
    assert len(kinds) == 4
    assert (~mask.seen[0] & ~own).sum(1).tolist() == pytest.approx([101] * 202, abs=1)  # round(202 * 0.5)
    _, _, many = drawn(draws=256, batch=batch)
    assert many.seen[0][:, 1:-1].double().mean().item() == pytest.approx(0.5, abs=0.01)


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match="two shares of at most 1"):
        EnhancedMasking(replaced=(0.8, 0.3))
    with pytest.raises(ConfigError, match="draws must be at least 1"):
        EnhancedMasking(draws=0)
