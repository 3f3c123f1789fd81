"""Attention that falls with distance (ALiBi, arXiv 2108.12409), with a learned scale of each head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.registry import MODELS


def alibi_slopes(num_heads: int) -> Tensor:
    """Slope of each head: float64 [H], a falling geometric series, for H = 8 from 1/2 to 1/256.

    Where H is no power of two, the series of the next smaller one comes first and then every other slope of the next
    larger one. Source: ALiBi (arXiv 2108.12409).
    """
    power = 1 << (num_heads.bit_length() - 1)
    first = 2.0 ** (-8.0 / power * torch.arange(1, power + 1, dtype=torch.float64))
    finer = 2.0 ** (-4.0 / power * torch.arange(1, 2 * power + 1, 2, dtype=torch.float64))
    return torch.cat((first, finer))[:num_heads]


@MODELS.register_module()
class AlibiBias(nn.Module):
    """Attention falls with distance: - slope_h scale_h |i - j| is added to the similarities, with a learned scale.

    Args:
        num_heads: Heads H.
    """

    def __init__(self, num_heads: int = 12) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_heads))
        self.register_buffer("slopes", alibi_slopes(num_heads).float(), persistent=False)

    def forward(self, coordinates: Tensor) -> Tensor:
        """Places of the tokens in the sequence [B, N, 1] -> [B, H, N, N]; a negative scale counts as 0."""
        distance = (coordinates - coordinates.transpose(1, 2)).abs()  # [B, N, N]
        slopes = self.slopes * self.scale.clamp(min=0)
        return -distance.to(slopes.dtype).unsqueeze(1) * slopes[:, None, None]
