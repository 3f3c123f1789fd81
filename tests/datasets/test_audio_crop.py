"""Sounds of a batch cut to one length."""

import pytest
import torch

from mae3d.datasets.transforms.audio import CropToShortest
from mae3d.errors import DataError


def test_every_sound_keeps_a_stretch_of_its_own():
    waveform = torch.arange(100.0).repeat(400, 1)
    lengths = torch.tensor([100, 60, 40, 41]).repeat(100)
    batch = {"waveform": waveform, "length": lengths, "label": torch.zeros(400)}
    cut = CropToShortest()(batch, torch.Generator().manual_seed(0))
    assert cut["waveform"].shape == (400, 40)
    assert (cut["waveform"].diff(dim=1) == 1).all()
    starts = cut["waveform"][:, 0]
    for length in (100, 60, 40, 41):
        own = starts[lengths == length]
        assert own.min() == 0 if length < 100 else own.min() < 8
        assert own.max() <= length - 40
        assert own.max() >= (length - 40) * 0.9
    assert (cut["length"] == 40).all()
    assert torch.equal(cut["label"], batch["label"])


def test_sounds_that_are_too_short_are_named():
    batch = {"waveform": torch.zeros(2, 100), "length": torch.tensor([90, 30])}
    with pytest.raises(DataError, match="sound 1 of the batch has 30 samples, expected 50 or more"):
        CropToShortest(minimum=50)(batch)
    whole = CropToShortest()({"waveform": torch.ones(2, 9)})
    assert torch.equal(whole["waveform"], torch.ones(2, 9))
