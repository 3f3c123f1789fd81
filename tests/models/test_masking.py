import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.masking import BlockMasking, RandomMasking
from mae3d.models.masking.random import masked_count
from mae3d.structures import Tokens


def tokens(batch=4, count=20, seed=0):
    coordinates = torch.randn(batch, count, 3, generator=torch.Generator().manual_seed(seed))
    return Tokens(coordinates, coordinates, coordinates)


@pytest.mark.parametrize(
    ("count", "ratio", "exact", "masked"),
    [
        (64, 0.6, "masked", 38),
        (64, 0.8, "masked", 51),
        (196, 0.75, "visible", 147),
        (196, 0.95, "visible", 187),
        (512, 0.8, "visible", 410),
        (64, 0.0, "masked", 0),
    ],
)
def test_counts_are_those_of_the_published_systems(count, ratio, exact, masked):
    assert masked_count(count, ratio, exact) == masked


@pytest.mark.parametrize("masking", [RandomMasking(0.6), BlockMasking(0.6)])
def test_same_seed_same_mask_and_samples_differ(masking):
    draw = [masking(tokens(), torch.Generator().manual_seed(seed)).to_bool() for seed in (3, 3, 4)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert not (draw[0] == draw[0][:1]).all()
    torch.manual_seed(5)
    first = masking(tokens()).to_bool()
    torch.manual_seed(5)
    assert torch.equal(first, masking(tokens()).to_bool())


def test_every_token_is_hidden_equally_often():
    generator = torch.Generator().manual_seed(0)
    share = RandomMasking(0.25)(tokens(batch=20000, count=8), generator).to_bool().double().mean(0)
    assert (share - 0.25).abs().max() < 0.015


def test_block_is_one_token_and_its_nearest():
    given = tokens(batch=50)
    hidden = BlockMasking(0.4)(given, torch.Generator().manual_seed(0)).to_bool()
    distances = torch.cdist(given.coordinates, given.coordinates)
    for row, own in zip(hidden, distances):
        blocks = [set(own[seed].argsort()[:8].tolist()) for seed in range(20)]
        assert set(row.nonzero().flatten().tolist()) in blocks


def test_block_among_equal_coordinates_holds_its_seed():
    same = torch.zeros(3, 6, 3)
    mask = BlockMasking(0.5)(Tokens(same, same, same), torch.Generator().manual_seed(0))
    assert mask.num_masked == 3


@pytest.mark.parametrize("masking", [RandomMasking, BlockMasking])
@pytest.mark.parametrize("ratio", [-0.1, 1.0])
def test_wrong_ratio_is_refused(masking, ratio):
    with pytest.raises(ConfigError, match="mask ratio"):
        masking(ratio)
