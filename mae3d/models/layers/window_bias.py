"""Position bias of attention in a window, made of the offset between two tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LogOffsetBias(nn.Module):
    """Log-spaced continuous position bias (Swin v2, sec. 3.3): two linear layers over sign(d) log(1 + |d|).

    Args:
        window: Tokens of a window along every axis.
        num_heads: Heads H, each with a bias of its own.
        hidden_dim: Width between the layers.
        dropout: Behind the activation and behind the second layer.
    """

    offsets: Tensor

    def __init__(self, window: Sequence[int], num_heads: int, hidden_dim: int = 384, dropout: float = 0.1) -> None:
        super().__init__()
        axes = torch.meshgrid(*(torch.arange(size, dtype=torch.float32) for size in window), indexing="ij")
        place = torch.stack([axis.flatten() for axis in axes], dim=-1)  # [L, n]
        offset = place[:, None] - place[None, :]
        self.register_buffer("offsets", offset.sign() * offset.abs().log1p(), persistent=False)
        self.fc1 = nn.Linear(len(window), hidden_dim)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(hidden_dim, num_heads)
        self.dropout = nn.Dropout(dropout)

    def forward(self) -> Tensor:
        """What is added to the similarity of query i and key j, [H, L, L]."""
        return self.dropout(self.fc2(self.dropout(self.act(self.fc1(self.offsets))))).movedim(-1, 0)
