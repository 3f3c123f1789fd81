"""Masks of whole stretches of time and whole bands: published counts, and the official masks from the same noise."""

import math

import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.masking import RandomMasking, TimeFrequencyMasking
from mae3d.models.tokenizers.patches import grid_coordinates
from mae3d.structures import Tokens
from tests.oracles import audio_mae as oracle


def grid_tokens(grid, batch=3):
    coordinates = grid_coordinates(grid).expand(batch, -1, -1)
    return Tokens(coordinates, coordinates, coordinates, grid=grid)


def test_published_counts():
    tokens = grid_tokens((64, 8), 1)
    assert RandomMasking(0.8, exact="visible").masked_tokens(tokens) == 410
    assert TimeFrequencyMasking().masked_tokens(tokens) == 417  # 19 x 5 stay
    assert TimeFrequencyMasking().kept((64, 8)) == (19, 5)
    assert TimeFrequencyMasking(0.2, 0.2).kept((64, 8)) == (51, 6)


@pytest.mark.parametrize(("grid", "ratios"), [((64, 8), (0.7, 0.3)), ((101, 12), (0.6, 0.5)), ((8, 8), (0.2, 0.0))])
def test_structured_masks_are_the_official_ones(grid, ratios):
    masking = TimeFrequencyMasking(*ratios)
    mask = masking(grid_tokens(grid), torch.Generator().manual_seed(5))
    generator = torch.Generator().manual_seed(5)
    draws = [torch.rand(3, size, generator=generator) for size in grid]
    kept, removed, restore = oracle.structured_mask(*draws, *ratios)
    assert torch.equal(mask.to_bool(), removed.bool())
    visible = ~mask.to_bool().unflatten(1, grid)
    product = visible.any(2)[:, :, None] & visible.any(1)[:, None, :]
    assert torch.equal(visible, product)  # a full rectangle
    if math.prod(grid) < 999:  # the official sort puts hidden tokens of a larger grid before visible ones
        assert torch.equal(mask.visible, kept)
        assert torch.equal(restore.argsort(1)[:, : kept.shape[1]], kept)


def test_structured_masks_need_two_axes():
    with pytest.raises(ValueError, match=r"\(time, frequency\), got a grid \(2, 3, 4\)"):
        TimeFrequencyMasking()(grid_tokens((2, 3, 4)))
    with pytest.raises(ConfigError, match=r"mask ratio must be in \[0, 1\)"):
        TimeFrequencyMasking(1.0)
    with pytest.raises(ConfigError, match=r"leave 51 x 0 tokens of a grid \(64, 8\)"):
        TimeFrequencyMasking(0.2, 0.9)(grid_tokens((64, 8)))
