"""Masks of whole stretches of time and whole bands of a spectrogram."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.masking.grid import grid_of
from mae3d.models.masking.random import check_ratio, masked_count, random_numbers
from mae3d.registry import MODELS
from mae3d.structures import Mask, Tokens


@MODELS.register_module()
class TimeFrequencyMasking(nn.Module):
    """Hides time steps and bands of a grid (time, frequency); what stays visible is a product of the two.

    Source: Audio-MAE (arXiv 2207.06405), structured masking of pre-training and of fine-tuning.

    Args:
        time: Share of hidden time steps; int(T * (1 - time)) stay.
        frequency: Share of hidden bands; int(F * (1 - frequency)) stay.
    """

    def __init__(self, time: float = 0.7, frequency: float = 0.3) -> None:
        super().__init__()
        self.time, self.frequency = check_ratio(time), check_ratio(frequency)

    def kept(self, grid: tuple[int, ...]) -> tuple[int, int]:
        """Visible time steps and bands."""
        if len(grid) != 2:
            raise ValueError(f"TimeFrequencyMasking needs tokens on a grid (time, frequency), got a grid {grid}")
        time, frequency = (
            size - masked_count(size, ratio, "visible") for size, ratio in zip(grid, (self.time, self.frequency))
        )
        if not time or not frequency:
            raise ConfigError(
                f"TimeFrequencyMasking: time={self.time} and frequency={self.frequency} leave {time} x {frequency} "
                f"tokens of a grid {grid}; lower them"
            )
        return time, frequency

    def masked_tokens(self, tokens: Tokens) -> int:
        """How many tokens of a sample are hidden."""
        steps, bands = self.kept(grid_of(tokens, self))
        return tokens.coordinates.shape[1] - steps * bands

    def forward(self, tokens: Tokens, generator: torch.Generator | None = None) -> Mask:
        """Draw one mask per sample of dense tokens; randomness from ``generator`` or the global RNG."""
        grid = grid_of(tokens, self)
        kept = self.kept(grid)
        steps, bands = (
            _lowest(random_numbers((tokens.batch_size, size), tokens.coordinates.device, generator), count)
            for size, count in zip(grid, kept)
        )
        hidden = ~(steps[:, :, None] & bands[:, None, :]).flatten(1)
        return Mask.from_order(hidden.long().argsort(dim=1, stable=True), hidden.shape[1] - kept[0] * kept[1])

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"time={self.time}, frequency={self.frequency}"


def _lowest(noise: Tensor, count: int) -> Tensor:
    """Bool, True at the ``count`` lowest numbers of each row of ``noise`` [B, n]."""
    return noise.argsort(dim=1).argsort(dim=1) < count
