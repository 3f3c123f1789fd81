"""Random masking of packed tokens, the same share of every cloud."""

from __future__ import annotations

import torch
from torch import nn

from mae3d.models.masking.random import check_ratio, lowest_of_each, random_numbers
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask, VoxelPatches


@MODELS.register_module()
class PackedMasking(nn.Module):
    """Leaves int(n (1 - ratio)) of a cloud's n tokens visible, chosen uniformly.

    Every cloud with tokens has something to predict, and every one with two or more something to see: counts are
    moved to 1 and n - 1 where they would fall outside.

    Args:
        ratio: Share of hidden tokens.
    """

    def __init__(self, ratio: float = 0.6) -> None:
        super().__init__()
        self.ratio = check_ratio(ratio)

    def forward(self, tokens: VoxelPatches, generator: torch.Generator | None = None) -> VoxelMask:
        """Draw a mask; randomness from ``generator`` or the global RNG of the device."""
        counts = tokens.offsets.diff()
        visible = (counts.double() * (1 - self.ratio)).long().clamp(min=1).minimum((counts - 1).clamp(min=0))
        draws = random_numbers((len(tokens),), tokens.offsets.device, generator)
        return VoxelMask.from_bool(~lowest_of_each(draws, tokens.offsets, visible))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}"
