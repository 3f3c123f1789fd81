"""Masking that treats occupied and empty patches apart (FastDiT-3D, arXiv 2312.07231, sec. 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.masking.random import random_numbers
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask


def check_share(name: str, ratio: float) -> float:
    """``ratio`` if it lies in [0, 1]: at least one token of a group stays visible even at 1."""
    if not 0.0 <= ratio <= 1.0:
        raise ConfigError(f"OccupancyMasking: {name} must be in [0, 1], got {ratio}")
    return ratio


@MODELS.register_module()
class OccupancyMasking(nn.Module):
    """Hides a share of each sample's occupied tokens and another of its empty ones.

    Of a group of n tokens, max(1, round(n (1 - ratio))) stay visible (none of an empty group), so counts differ
    between samples.

    Args:
        foreground_ratio: Share of hidden occupied tokens.
        background_ratio: Share of hidden empty tokens.
        aware: False masks all tokens at random with ``background_ratio``, occupied or not: the paper's baseline.
    """

    def __init__(self, foreground_ratio: float = 0.95, background_ratio: float = 0.99, *, aware: bool = True) -> None:
        super().__init__()
        self.foreground_ratio = check_share("foreground_ratio", foreground_ratio)
        self.background_ratio = check_share("background_ratio", background_ratio)
        self.aware = aware

    def forward(self, occupied: Tensor, generator: torch.Generator | None = None) -> VoxelMask:
        """Draw a mask over the rows of flattened tokens.

        Args:
            occupied: bool [B, N].
            generator: Source of randomness, None: the global RNG of the device.

        Returns:
            Mask over B N rows, sample by sample.
        """
        draws = random_numbers(tuple(occupied.shape), occupied.device, generator)
        if not self.aware:
            return VoxelMask.from_bool(~self._kept(torch.ones_like(occupied), draws, self.background_ratio).flatten())
        kept = self._kept(occupied, draws, self.foreground_ratio)
        kept |= self._kept(~occupied, draws, self.background_ratio)
        return VoxelMask.from_bool(~kept.flatten())

    @staticmethod
    def _kept(group: Tensor, draws: Tensor, ratio: float) -> Tensor:
        """Bool [B, N]: the tokens of ``group`` with the lowest draws, as many as stay visible."""
        count = group.sum(dim=1, keepdim=True)
        wanted = (count * (1 - ratio)).round().long().clamp(min=1)
        rank = torch.where(group, draws, 2.0).argsort(dim=1).argsort(dim=1)
        return group & (rank < wanted)

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"foreground_ratio={self.foreground_ratio}, background_ratio={self.background_ratio}, aware={self.aware}"
