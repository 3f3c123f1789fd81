"""Masking of another number of tokens in each sample: counts, places, replaced tokens."""

import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.layers import MaskToken
from mae3d.models.masking import RaggedMasking
from mae3d.structures import RaggedMask, Tokens


def tokens(batch=200, count=64, seed=0):
    centers = torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(seed))
    return Tokens(centers, centers, centers)


def draw(masking, given, seed=1):
    return masking(given, torch.Generator().manual_seed(seed))


def test_blocks_are_the_nearest_of_one_token_and_16_to_28_of_64():
    given = tokens()
    mask = draw(RaggedMasking(), given).masked
    counts = mask.sum(1)
    assert set(counts.tolist()) == set(range(16, 29))
    for centers, hidden in zip(given.coordinates, mask):
        order = torch.cdist(centers, centers).argsort(dim=1)  # row i: nearest to token i first
        nearest = [set(row[: hidden.sum()].tolist()) for row in order]
        assert set(hidden.nonzero().squeeze(1).tolist()) in nearest
    assert mask.float().mean(0).min() > 0.15  # every token is hidden at times


def test_random_tokens_share_one_ratio_a_batch():
    given = tokens()
    shares = torch.stack([draw(RaggedMasking(kind="random"), given, seed).masked.float().mean() for seed in range(60)])
    assert shares.min() > 0.24
    assert shares.max() < 0.46
    assert shares.std() > 0.03  # within a batch the 12,800 draws would give 0.004
    mask = draw(RaggedMasking((0.5, 0.5), "random"), given).masked
    assert len(mask.sum(1).unique()) > 10
    assert torch.corrcoef(mask.T.float())[0, 1:].abs().max() < 0.4  # no blocks


def test_replaced_tokens_are_visible_ones():
    mask = draw(RaggedMasking((0.25, 0.45), replacement=0.3), tokens())
    replaced = mask.source >= 0
    assert not (replaced & mask.masked).any()
    assert torch.equal(mask.asked, replaced | mask.masked)
    assert replaced.sum().item() / (~mask.masked).sum().item() == pytest.approx(0.3, abs=0.02)
    chosen = mask.source[replaced]
    assert len(chosen.unique()) == len(chosen)  # rows of a permutation
    assert (chosen // 64 != replaced.nonzero()[:, 0]).float().mean() > 0.9  # of other samples, too


def test_masks_are_those_of_the_seed():
    masking, given = RaggedMasking(replacement=0.1), tokens()
    first, second, other = (draw(masking, given, seed) for seed in (1, 1, 2))
    assert torch.equal(first.masked, second.masked)
    assert torch.equal(first.source, second.source)
    assert not torch.equal(first.masked, other.masked)


def test_the_mask_token_and_copies_stand_in_their_places():
    layer = MaskToken(4)
    features = torch.randn(2, 3, 4, requires_grad=True)
    masked = torch.tensor([[True, False, False], [False, False, True]])
    source = torch.tensor([[-1, 5, -1], [-1, 0, -1]])
    mask = RaggedMask(masked, source)
    result = layer(features, mask)
    token = layer.token[0, 0]
    expected = torch.stack((token, features[1, 2], features[0, 2], features[1, 0], features[0, 0], token)).view(2, 3, 4)
    assert torch.equal(result, expected)
    result.sum().backward()
    assert torch.equal(features.grad[..., 0], torch.tensor([[0.0, 0, 1], [1, 0, 0]]))  # none through copies
    assert torch.equal(mask.gather_asked(features.detach())[:, 0], features[mask.asked][:, 0])


def test_wrong_masks_and_ratios_are_named():
    with pytest.raises(ConfigError, match=r"ratio must be \(lowest, highest\), got \(0.5, 0.2\)"):
        RaggedMasking((0.5, 0.2))
    for ratio in (0.4, (0.2, 0.3, 0.4)):
        with pytest.raises(ConfigError, match=r"ratio must be \(lowest, highest\), got "):
            RaggedMasking(ratio)
    with pytest.raises(ConfigError, match=r"a block of at most 0\.05 of 16 tokens hides none"):
        draw(RaggedMasking((0.0, 0.05)), tokens(count=16))
    with pytest.raises(ConfigError, match='kind must be "block" or "random"'):
        RaggedMasking(kind="tube")
    with pytest.raises(ConfigError, match=r"mask ratio must be in \[0, 1\)"):
        RaggedMasking((0.2, 1.0))
    with pytest.raises(ValueError, match=r"RaggedMask.masked must be torch.bool \[B, N\], got torch.int64"):
        RaggedMask(torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"RaggedMask.source must be torch.int64 \[B, N\], got torch.int64 \[2, 4\]"):
        RaggedMask(torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.int64))
