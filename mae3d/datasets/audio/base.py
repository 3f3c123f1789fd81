"""Sounds: from encoded bytes in a file to a sample of one waveform."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mae3d.datasets.audio.reader import decode_waveform
from mae3d.datasets.base import SampleDataset
from mae3d.errors import ConfigError

Crop = Literal["start", "center", "random"]
Level = Literal["none", "mean", "unit"]


class AudioDataset(SampleDataset):
    """Base of the audio data sets.

    A sample is ``{"waveform": float32 [samples], "length": int64, "index": int64}``, with ``label`` (int64) where
    files have one class and ``target`` (float32 [classes], zeros and ones) where they have several. Of ``waveform``
    the first ``length`` values are the sound, the rest zeros.

    Args:
        samples: Length of every waveform; longer sounds are cut, shorter ones padded with zeros at the end.
        rate: Samples per second; files of another rate are converted.
        crop: Which part of a longer sound is taken: its "start" (as AST, SSAST and Audio-MAE do), its "center", or a
            place drawn for each sample ("random").
        level: "mean" subtracts the mean of the whole file, "unit" also divides by its deviation, before cropping:
            (x - mean) / sqrt(variance + 1e-5), what wav2vec 2.0 and data2vec take. "none" leaves samples as they are.
        seed, on_error: See :class:`mae3d.datasets.base.SampleDataset`.
    """

    def __init__(
        self,
        samples: int = 160000,
        *,
        rate: int = 16000,
        crop: Crop = "start",
        level: Level = "none",
        seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__(seed=seed, on_error=on_error)
        name = type(self).__name__
        if samples < 1 or rate < 1:
            raise ConfigError(f"{name}: samples and rate must be positive, got {samples} and {rate}")
        if crop not in ("start", "center", "random"):
            raise ConfigError(f'{name}: crop must be "start", "center" or "random", got {crop!r}')
        if level not in ("none", "mean", "unit"):
            raise ConfigError(f'{name}: level must be "none", "mean" or "unit", got {level!r}')
        self.samples, self.rate, self.crop, self.level = samples, rate, crop, level

    @abstractmethod
    def read(self, index: int) -> bytes:
        """The encoded file of sample ``index``."""

    @abstractmethod
    def annotation(self, index: int) -> dict[str, Tensor]:
        """``label`` or ``target`` of sample ``index``, or nothing."""

    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``: decoded, levelled, cut or padded."""
        sound = _levelled(decode_waveform(self.read(index), self.sample_name(index), self.rate), self.level)
        room = max(0, len(sound) - self.samples)
        start = 0
        if room and self.crop != "start":
            start = room // 2 if self.crop == "center" else int(self.random_generator(index).integers(room + 1))
        part = sound[start : start + self.samples]
        waveform = torch.zeros(self.samples)
        waveform[: len(part)] = torch.from_numpy(part)
        return {
            "waveform": waveform,
            "length": torch.tensor(len(part), dtype=torch.int64),
            "index": torch.tensor(int(index), dtype=torch.int64),
            **self.annotation(index),
        }


def _levelled(sound: np.ndarray, level: Level) -> np.ndarray:
    if level == "none":
        return sound
    exact = sound.astype(np.float64)
    exact -= exact.mean()
    if level == "unit":
        exact /= np.sqrt(exact.var() + 1e-5)
    return exact.astype(np.float32)
