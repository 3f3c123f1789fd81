"""Stochastic depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers.packing import Packing


class DropPath(nn.Module):
    """Drops a residual branch for whole samples with probability ``rate`` and rescales the kept ones.

    Draws from the global RNG of the tensor's device. Packed rows of one sample share one draw.
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ConfigError(f"DropPath: rate must be in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor, packing: Packing | None = None) -> Tensor:
        """[B, ...] or packed [T, C] -> same shape."""
        if not self.training or self.rate == 0.0:
            return x
        samples = x.shape[0] if packing is None else packing.batch_size
        keep = torch.empty(samples, dtype=x.dtype, device=x.device).bernoulli_(1.0 - self.rate) / (1.0 - self.rate)
        if packing is not None:
            keep = keep[packing.sample]
        return x * keep.reshape(-1, *[1] * (x.dim() - 1))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"rate={self.rate:.3g}"


def drop_path_schedule(rate: float, depth: int) -> list[float]:
    """Rates rising linearly from 0 at the first block to ``rate`` at the last."""
    return [rate * index / max(1, depth - 1) for index in range(depth)]
