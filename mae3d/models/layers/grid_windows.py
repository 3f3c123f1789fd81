"""Attention inside the cubic windows of a dense grid of tokens, written from its definition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError


class GridWindows(nn.Module):
    """Cuts a grid of tokens into windows of ``size``^3; at the high side they are smaller where size does not divide.

    Nothing is padded: a token attends to the tokens of its own window and to nothing else, so a window as large as the
    grid is attention over all tokens.

    Args:
        grid: Tokens along each axis.
        size: Tokens of a window along each axis.
    """

    order: Tensor
    inverse: Tensor

    def __init__(self, grid: int, size: int) -> None:
        super().__init__()
        if grid < 1 or size < 1:
            raise ConfigError(f"GridWindows: grid and size must be at least 1, got {grid} and {size}")
        self.grid = grid
        self.size = size
        # Built on the CPU even under a meta device: the lengths of the windows are needed as numbers.
        axis = torch.arange(grid, device="cpu") // size
        across = -(-grid // size)
        window = ((axis[:, None, None] * across + axis[:, None]) * across + axis).flatten()  # of token (x, y, z)
        lengths = window.bincount()
        order = (lengths[window] * len(lengths) + window).argsort(stable=True)  # short windows first
        self.runs = [(int(n), int(count)) for n, count in zip(*lengths.unique(return_counts=True))]
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("inverse", order.argsort(), persistent=False)

    def forward(self, attend: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply ``attend`` ([B', L, C] -> same) inside each window of tokens [B, grid^3, C], x slowest, z fastest."""
        rows, results, start = x[:, self.order], [], 0
        for length, count in self.runs:
            run = rows[:, start : start + length * count].unflatten(1, (count, length)).flatten(0, 1)
            results.append(attend(run).unflatten(0, (-1, count)).flatten(1, 2))
            start += length * count
        return torch.cat(results, dim=1)[:, self.inverse]

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"grid={self.grid}, size={self.size}"
