"""What a diffusion transformer is told beside the tokens: the time, and the class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError, DataError

FREQUENCIES = 256
MAX_PERIOD = 10000.0


def time_waves(times: Tensor) -> Tensor:
    """Cosines, then sines of times [B] at 128 frequencies from 1 down to 1e-4: float32 [B, 256]."""
    half = FREQUENCIES // 2
    frequency = torch.exp(-math.log(MAX_PERIOD) * torch.arange(half, device=times.device) / half)
    phase = times.float()[:, None] * frequency
    return torch.cat((phase.cos(), phase.sin()), dim=-1)


class TimeAndClass(nn.Module):
    """Sum of an embedded time and an embedded class (DiT).

    Args:
        dim: Width of the condition.
        num_classes: Number of classes; one more row of the table stands for "no class".
        dropout: Probability with which training hides a sample's class, so that the model learns both.
    """

    def __init__(self, dim: int, num_classes: int, dropout: float = 0.1) -> None:
        super().__init__()
        if num_classes < 0:
            raise ConfigError(f"TimeAndClass: num_classes must be at least 0, got {num_classes}")
        if not 0 <= dropout <= 1:
            raise ConfigError(f"TimeAndClass: dropout must be in [0, 1], got {dropout}")
        self.num_classes = num_classes
        self.dropout = dropout
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(num_classes + 1, dim)
        for layer in (self.time[0], self.time[2], self.label):
            nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.time[0].bias)
        nn.init.zeros_(self.time[2].bias)

    def forward(self, times: Tensor, label: Tensor) -> Tensor:
        """Times [B] and classes int64 [B] (``num_classes``: none) -> condition [B, D]."""
        return self.time(time_waves(times)) + self.label(label)

    def drop(self, label: Tensor, draws: Tensor) -> Tensor:
        """Classes [B], with "no class" where the uniform ``draws`` [B] fall below the dropout."""
        return torch.where(draws < self.dropout, self.num_classes, label)

    def check(self, label: Tensor | None, batch_size: int, device: torch.device) -> Tensor:
        """Classes of a batch; None means "no class" for all.

        Raises:
            DataError: Not one class per sample, or (looked at on the CPU) a class that the table lacks.
        """
        if label is None:
            return torch.full((batch_size,), self.num_classes, device=device)
        if label.shape != (batch_size,) or label.dtype != torch.int64:
            raise DataError(f"label must be int64 [{batch_size}], got {label.dtype} {list(label.shape)}")
        on_host = label.device.type == "cpu" and batch_size > 0
        if on_host and not 0 <= int(label.min()) <= int(label.max()) <= self.num_classes:
            raise DataError(
                f"label must be in [0, {self.num_classes}], got {int(label.min())} to {int(label.max())}: build the "
                f"model with num_classes={int(label.max()) + 1}, or take fewer categories"
            )
        return label
