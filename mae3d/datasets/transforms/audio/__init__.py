"""Transforms of batches of waveforms and spectrograms, on any device."""

from mae3d.datasets.transforms.audio.crop import CropToShortest
from mae3d.datasets.transforms.audio.filter_bank import KaldiFilterBank
from mae3d.datasets.transforms.audio.spectrogram import NormalizeSpectrogram, SpecAugment
from mae3d.datasets.transforms.audio.waveform import RandomGain, RandomRoll, WaveformMixup

__all__ = [
    "CropToShortest",
    "KaldiFilterBank",
    "NormalizeSpectrogram",
    "RandomGain",
    "RandomRoll",
    "SpecAugment",
    "WaveformMixup",
]
