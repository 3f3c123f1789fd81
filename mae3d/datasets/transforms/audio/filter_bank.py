"""Waveforms to log mel filter-bank energies, as Kaldi's ``compute-fbank-feats`` gives them, a whole batch at once."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mae3d.datasets.transforms.audio.waveform import valid_lengths
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS

Batch = dict[str, Any]
Window = Literal["hanning", "hamming", "povey", "rectangular"]
FLOOR = torch.finfo(torch.float32).eps
"""Energies below it are raised to it before the logarithm."""


def window_function(kind: Window, length: int) -> Tensor:
    """Symmetric window, float64 [length]; Povey's is Hanning's to the power of 0.85."""
    if kind == "rectangular":
        return torch.ones(length, dtype=torch.float64)
    if kind == "hamming":
        return torch.hamming_window(length, periodic=False, dtype=torch.float64)
    hanning = torch.hann_window(length, periodic=False, dtype=torch.float64)
    if kind not in ("hanning", "povey"):
        raise ConfigError(
            f'KaldiFilterBank: window must be "hanning", "hamming", "povey" or "rectangular", got {kind!r}'
        )
    return hanning if kind == "hanning" else hanning**0.85


def mel(frequency: Tensor) -> Tensor:
    """Hertz to HTK's mel scale, 1127 log(1 + f / 700)."""
    return 1127.0 * (1.0 + frequency / 700.0).log()


def mel_filters(bins: int, size: int, rate: float, low: float, high: float) -> Tensor:
    """Triangles of equal width and half overlap on the mel scale, float64 [size / 2 + 1, bins].

    Args:
        bins: Number of triangles.
        size: Points of the Fourier transform; the highest one has no weight, as in Kaldi.
        rate: Samples per second.
        low: Where the first triangle begins, in hertz.
        high: Where the last one ends.
    """
    edges = mel(torch.tensor([low, high], dtype=torch.float64))
    step = (edges[1] - edges[0]) / (bins + 1)
    left = edges[0] + step * torch.arange(bins, dtype=torch.float64)
    place = mel(torch.arange(size // 2, dtype=torch.float64) * rate / size)[:, None]
    rising, falling = (place - left) / step, (left + 2 * step - place) / step
    return F.pad(torch.minimum(rising, falling).clamp_min(0.0), (0, 0, 0, 1))


@TRANSFORMS.register_module()
class KaldiFilterBank:
    """``waveform`` [B, samples] to ``spectrogram`` [B, 1, frames, bins], natural logarithms of mel energies.

    Each frame of ``frame_ms`` loses its mean, is pre-emphasised (x[i] - c x[i - 1], the first sample with itself),
    windowed, padded to a power of two and transformed; powers are summed under the mel triangles. Frames lie inside the
    sound (Kaldi's ``snip-edges``): n samples give 1 + (n - length) // shift of them, less than one frame gives none. No
    dither, no energy. Frames behind the sound are zeros, not the logarithm of silence, as published systems pad them.

    Of 128 triangles at 16 kHz the fourth lies between two bins of the 512-point transform and stays at the floor.
    Kaldi's own program refuses such a bank; torchaudio's restatement, which the audio transformers use, does not.

    Args:
        frames: Length of every spectrogram; longer sounds are cut.
        bins: Mel triangles.
        rate: Samples per second.
        frame_ms: Length of a frame in milliseconds.
        shift_ms: Distance of two frames.
        window: "hanning", "hamming", "povey" (Kaldi's default) or "rectangular".
        preemphasis: c.
        low: Lower edge of the first triangle in hertz.
        high: Upper edge of the last one; 0 or less counts from half the rate.
    """

    def __init__(
        self,
        frames: int = 1024,
        bins: int = 128,
        *,
        rate: int = 16000,
        frame_ms: float = 25.0,
        shift_ms: float = 10.0,
        window: Window = "hanning",
        preemphasis: float = 0.97,
        low: float = 20.0,
        high: float = 0.0,
    ) -> None:
        top = rate / 2 + high if high <= 0 else high
        if not 0 <= low < top <= rate / 2:
            raise ConfigError(f"KaldiFilterBank: 0 <= low < high <= {rate / 2:g} Hz, got {low:g} and {top:g}")
        self.length, self.shift = int(rate * frame_ms / 1000), int(rate * shift_ms / 1000)
        if min(frames, bins, self.shift) < 1 or self.length < 2:
            raise ConfigError(
                f"KaldiFilterBank: frames and bins must be positive and a frame two samples or more, got {frames}, "
                f"{bins} and frames of {self.length} samples every {self.shift}"
            )
        self.frames, self.bins, self.rate, self.preemphasis = frames, bins, rate, preemphasis
        self.size = 1 << math.ceil(math.log2(self.length))
        self.window = window_function(window, self.length)
        self.filters = mel_filters(bins, self.size, rate, low, top)

    @property
    def samples(self) -> int:
        """Samples that a full spectrogram is made of."""
        return (self.frames - 1) * self.shift + self.length

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, with ``spectrogram`` in the place of ``waveform``.

        Raises:
            DataError: No waveforms [B, samples] of floating-point numbers.
        """
        if "waveform" not in batch:
            raise DataError(f"KaldiFilterBank needs the field 'waveform' of a batch, got {sorted(batch)}")
        waveform = batch["waveform"]
        counts = (valid_lengths(batch) - self.length) // self.shift + 1
        energies = self.transform(waveform)
        frame = torch.arange(energies.shape[1], device=waveform.device)
        energies = energies.masked_fill((frame >= counts[:, None])[..., None], 0.0)
        spectrogram = F.pad(energies, (0, 0, 0, self.frames - energies.shape[1]))
        rest = {name: value for name, value in batch.items() if name != "waveform"}
        return {**rest, "spectrogram": spectrogram[:, None]}

    def transform(self, waveform: Tensor) -> Tensor:
        """Waveforms [B, samples] -> log energies [B, at most ``frames``, bins], in the dtype of the input."""
        if waveform.dim() != 2 or not waveform.is_floating_point():
            raise DataError(
                f"KaldiFilterBank takes waveforms [B, samples] of floats, got {waveform.dtype} {list(waveform.shape)}"
            )
        waveform = waveform[:, : self.samples]
        if waveform.shape[1] < self.length:
            return waveform.new_zeros(len(waveform), 0, self.bins)
        pieces = waveform.unfold(1, self.length, self.shift)  # [B, frames, length]
        pieces = pieces - pieces.mean(dim=-1, keepdim=True)
        pieces = pieces - self.preemphasis * F.pad(pieces, (1, 0), mode="replicate")[..., :-1]
        spectrum = torch.fft.rfft(pieces * self.window.to(pieces), self.size)
        power = spectrum.real.square() + spectrum.imag.square()
        return (power @ self.filters.to(power)).clamp_min(FLOOR).log()
