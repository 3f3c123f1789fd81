"""Normalisation and augmentation of spectrograms [B, 1, time, frequency]."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.transforms.random_draws import draw_uniform
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS

Batch = dict[str, Any]


def spectrogram_of(batch: Batch, transform: str) -> Tensor:
    """The field ``spectrogram``."""
    if "spectrogram" not in batch:
        raise DataError(
            f"{transform} needs the field 'spectrogram', got {sorted(batch)}; put KaldiFilterBank before it"
        )
    return batch["spectrogram"]


@TRANSFORMS.register_module()
class NormalizeSpectrogram:
    """(v - mean) / (2 std), which leaves a deviation of one half (AST, SSAST, Audio-MAE).

    Args:
        mean: Of the data set's log energies, padding included; AudioSet -4.2677393, ESC-50 -6.6268077, Speech
            Commands -6.845978.
        std: Likewise; 4.5689974, 5.358466, 5.5654526.
    """

    def __init__(self, mean: float = -4.2677393, std: float = 4.5689974) -> None:
        if std <= 0:
            raise ConfigError(f"NormalizeSpectrogram: std must be positive, got {std}")
        self.mean, self.std = mean, std

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        values = spectrogram_of(batch, "NormalizeSpectrogram")
        return {**batch, "spectrogram": (values - self.mean) / (2 * self.std)}


@TRANSFORMS.register_module()
class SpecAugment:
    """Zeros in one band of frequencies and in one stretch of time of each sample (arXiv 1904.08779).

    Widths are uniform up to the given ones, rounded down, and places uniform, as in torchaudio. Put it before
    :class:`NormalizeSpectrogram`, as published: the zeros are then those of padding.

    Args:
        frequency: Largest width of the band, in bins; 0 for none.
        time: Largest width of the stretch, in frames; 0 for none.
    """

    def __init__(self, frequency: int = 48, time: int = 192) -> None:
        if min(frequency, time) < 0:
            raise ConfigError(f"SpecAugment: widths must not be negative, got {frequency} and {time}")
        self.frequency, self.time = frequency, time

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        values = spectrogram_of(batch, "SpecAugment")
        hidden = torch.zeros(len(values), 1, 1, 1, dtype=torch.bool, device=values.device)
        for axis, widest in ((3, self.frequency), (2, self.time)):
            if widest:
                hidden = hidden | _stretch(values, axis, widest, generator)
        return {**batch, "spectrogram": values.masked_fill(hidden, 0.0)}


def _stretch(values: Tensor, axis: int, widest: int, generator: torch.Generator | None) -> Tensor:
    """One stretch along ``axis`` for each sample, bool [B, 1, T or 1, F or 1]."""
    size = values.shape[axis]
    width, place = draw_uniform((2, len(values), 1, 1, 1), 0, 1, values.float(), generator)
    width = width * min(widest, size)
    first = (place * (size - width)).floor()
    cell = torch.arange(size, device=values.device).view([-1 if number == axis else 1 for number in range(4)])
    return (cell >= first) & (cell < first + width.floor())
