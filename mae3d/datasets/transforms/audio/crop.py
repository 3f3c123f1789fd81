"""Sounds of a batch cut to one length, so that none is padded."""

from __future__ import annotations

import torch

from mae3d.datasets.transforms.audio.waveform import Batch, valid_lengths, waveform_of
from mae3d.datasets.transforms.random_draws import draw_uniform
from mae3d.errors import DataError
from mae3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class CropToShortest:
    """Every sound is cut, at a place of its own, to the length of the batch's shortest (wav2vec 2.0, data2vec 2.0).

    Args:
        minimum: Samples that a sound must have; filter shorter ones out of the data set.
    """

    def __init__(self, minimum: int = 1) -> None:
        self.minimum = minimum

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed.

        Raises:
            DataError: A sound is shorter than ``minimum``.
        """
        waveform, lengths = waveform_of(batch, "CropToShortest"), valid_lengths(batch)
        shortest = int(lengths.min())
        if shortest < self.minimum:
            row = int(lengths.argmin())
            raise DataError(
                f"CropToShortest: sound {row} of the batch has {shortest} samples, expected {self.minimum} or more; "
                "leave such sounds out of the data set or lower minimum"
            )
        draws = draw_uniform((len(waveform), 1), 0, 1, waveform, generator)
        room = (lengths - shortest).unsqueeze(1)
        start = (draws * (room + 1)).long().minimum(room)
        places = start + torch.arange(shortest, device=waveform.device)
        return {**batch, "waveform": waveform.gather(1, places), "length": torch.full_like(lengths, shortest)}
