"""Augmentation of waveforms: a batch holds ``waveform`` [B, samples] and ``length`` [B], zeros behind each sound."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mae3d.datasets.transforms.random_draws import draw_beta, draw_uniform
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS

Batch = dict[str, Any]


def waveform_of(batch: Batch, transform: str) -> Tensor:
    """The field ``waveform`` [B, samples]."""
    if "waveform" not in batch:
        raise DataError(f"{transform} needs the field 'waveform' of a batch, got {sorted(batch)}; put it before others")
    return batch["waveform"]


def valid_lengths(batch: Batch) -> Tensor:
    """Samples of each sound, int64 [B]; without a field ``length`` all of them."""
    waveform = batch["waveform"]
    if "length" in batch:
        return batch["length"]
    return torch.full((len(waveform),), waveform.shape[1], device=waveform.device)


def _inside(batch: Batch) -> Tensor:
    """Bool [B, samples], where there is sound."""
    waveform = batch["waveform"]
    return torch.arange(waveform.shape[1], device=waveform.device) < valid_lengths(batch)[:, None]


@TRANSFORMS.register_module()
class RandomGain:
    """Each sound times a factor of its own, Beta(alpha, alpha) + offset; Audio-MAE's is between 0.5 and 1.5.

    Args:
        alpha: Of the Beta distribution.
        offset: Smallest factor.
    """

    def __init__(self, alpha: float = 10.0, offset: float = 0.5) -> None:
        if alpha <= 0:
            raise ConfigError(f"RandomGain: alpha must be positive, got {alpha}")
        self.alpha, self.offset = alpha, offset

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        waveform = waveform_of(batch, "RandomGain")
        factor = draw_beta((len(waveform), 1), self.alpha, waveform, generator) + self.offset
        return {**batch, "waveform": waveform * factor}


@TRANSFORMS.register_module()
class RandomRoll:
    """Turn each sound by an offset of its own: what leaves at the end comes back at the start."""

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed."""
        waveform = waveform_of(batch, "RandomRoll")
        length = valid_lengths(batch)[:, None]
        offset = (draw_uniform((len(waveform), 1), 0, 1, waveform, generator) * length).long()
        place = torch.arange(waveform.shape[1], device=waveform.device).expand_as(waveform)
        source = torch.where(place < length, (place - offset) % length.clamp_min(1), place)
        return {**batch, "waveform": waveform.gather(1, source)}


@TRANSFORMS.register_module()
class WaveformMixup:
    """Mix sounds with others of the batch and write ``target`` [B, K], as AST and Audio-MAE train on AudioSet.

    A sound that is mixed becomes w x + (1 - w) y with w from Beta(alpha, alpha), y another sound of the batch cut or
    padded to the length of x, and loses its mean again; its target is mixed with the same weight. The official code
    takes y from the whole data set, which costs a second file.

    Args:
        num_classes: K, needed where the batch has ``label`` and no ``target``.
        probability: Of a sound to be mixed.
        alpha: Of the Beta distribution.
    """

    def __init__(self, num_classes: int | None = None, probability: float = 0.5, alpha: float = 10.0) -> None:
        if not 0 <= probability <= 1 or alpha <= 0:
            raise ConfigError(f"WaveformMixup: probability in [0, 1] and alpha > 0, got {probability} and {alpha}")
        self.num_classes, self.probability, self.alpha = num_classes, probability, alpha

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed.

        Raises:
            DataError: No labels, or a label outside the classes.
        """
        waveform = waveform_of(batch, "WaveformMixup")
        target = self._target(batch)
        count = len(waveform)
        chosen = draw_uniform((count, 1), 0, 1, waveform, generator) < self.probability
        weight = draw_beta((count, 1), self.alpha, waveform, generator)
        weight = torch.where(chosen, weight, torch.ones_like(weight))
        step = draw_uniform((count,), 0, 1, waveform, generator) * max(1, count - 1)
        partner = (torch.arange(count, device=waveform.device) + 1 + step.long().clamp(max=max(0, count - 2))) % count
        inside = _inside(batch)
        mixed = (weight * waveform + (1 - weight) * waveform[partner]) * inside
        mean = mixed.sum(dim=1, keepdim=True) / inside.sum(dim=1, keepdim=True).clamp_min(1)
        mixed = torch.where(chosen, (mixed - mean) * inside, waveform)
        return {**batch, "waveform": mixed, "target": weight * target + (1 - weight) * target[partner]}

    def _target(self, batch: Batch) -> Tensor:
        if "target" in batch:
            return batch["target"]
        if "label" not in batch or self.num_classes is None:
            raise DataError("WaveformMixup needs the field 'target', or 'label' and num_classes")
        label = batch["label"]
        if label.numel() and int(label.max()) >= self.num_classes:
            raise DataError(f"WaveformMixup: label {int(label.max())} of {self.num_classes} classes; set num_classes")
        return F.one_hot(label, self.num_classes).float()
