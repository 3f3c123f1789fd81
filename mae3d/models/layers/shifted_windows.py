"""Attention inside rectangular windows of a grid of tokens, shifted in every other block (Swin v2, arXiv 2111.09883).

The forms are those of timm's SwinV2-CR as Audio-MAE took them: cosine similarity with one temperature for each head,
and a bias that a small network makes of the offset between two tokens on a logarithmic scale.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.layers.attention import Attention, attention
from mae3d.models.layers.packing import Packing
from mae3d.models.layers.window_bias import LogOffsetBias


class ShiftedWindows(nn.Module):
    """Cuts a grid of tokens into windows after turning it by ``shift``, as a ring along every axis.

    Along an axis no longer than the window there is one window and no shift.

    Args:
        grid: Tokens along both axes, each a multiple of its window.
        window: Tokens of a window along both axes.
        shift: Tokens that the grid is turned by along both axes.

    Attributes:
        size: The window that is used, (rows, columns).
        penalty: float32 [W, 1, L, L], what is added to the similarity of two tokens of a window: -100 where they are
            neighbours only across the ring's seam, else 0. None where there is no shift.
    """

    order: Tensor
    inverse: Tensor
    penalty: Tensor | None

    def __init__(self, grid: Sequence[int], window: Sequence[int], shift: Sequence[int] = (0, 0)) -> None:
        super().__init__()
        if not len(grid) == len(window) == len(shift) == 2 or min(*grid, *window) < 1:
            raise ConfigError(f"ShiftedWindows: two positive numbers each, got {grid}, {window} and shift {shift}")
        self.grid, self.size = tuple(grid), tuple(min(g, w) for g, w in zip(grid, window))
        self.shift = tuple(0 if g <= w else s for g, w, s in zip(grid, self.size, shift))
        for axis, w, s in zip(self.grid, self.size, self.shift):
            if axis % w or not 0 <= s < w:
                raise ConfigError(
                    f"ShiftedWindows: a grid of {self.grid} tokens is no multiple of windows of {self.size}, or the "
                    f"shift {self.shift} is not below them"
                )
        token = torch.arange(math.prod(self.grid), device="cpu").view(self.grid)
        turned = token.roll([-s for s in self.shift], (0, 1))
        order = self._cut(turned)  # [W, L]
        self.count, self.length = order.shape
        self.register_buffer("order", order.flatten(), persistent=False)
        self.register_buffer("inverse", order.flatten().argsort(), persistent=False)
        self.register_buffer("penalty", self._seams() if any(self.shift) else None, persistent=False)

    def _cut(self, values: Tensor) -> Tensor:
        """Grid of values -> [W, L]."""
        (rows, columns), (height, width) = self.grid, self.size
        cells = values.view(rows // height, height, columns // width, width)
        return cells.transpose(1, 2).reshape(-1, height * width)

    def _seams(self) -> Tensor:
        sides = []  # along each axis: the part that did not come across the seam, and the one that did
        for axis, s in zip(self.grid, self.shift):
            sides.append((torch.arange(axis, device="cpu") >= axis - s).long())
        region = self._cut(sides[0][:, None] * 2 + sides[1][None, :])
        return torch.where(region[:, :, None] == region[:, None, :], 0.0, -100.0)[:, None]

    def forward(self, attend: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Apply ``attend`` ([B W, L, C] -> same, the windows of a sample side by side) to tokens [B, N, C]."""
        windows = x[:, self.order].unflatten(1, (self.count, self.length)).flatten(0, 1)
        return attend(windows).unflatten(0, (-1, self.count)).flatten(1, 2)[:, self.inverse]

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"grid={self.grid}, size={self.size}, shift={self.shift}"


class ShiftedWindowAttention(Attention):
    """Self-attention inside the windows of a grid; takes and gives all tokens in row-major order.

    Officially the product of the two norms is kept above 1e-6, here each norm above 1e-12: the same unless a query or a
    key vanishes.

    Args:
        dim: Width C.
        num_heads: Heads H.
        windows: The windows.
        bias_dim: Hidden width of the network that makes the bias.
        bias_dropout: Its dropout, behind both layers; active in training, and then equal offsets differ in their bias.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        windows: ShiftedWindows,
        *,
        bias_dim: int = 384,
        bias_dropout: float = 0.1,
    ) -> None:
        super().__init__(dim, num_heads, similarity="cosine")
        self.tau = nn.Parameter(torch.ones(num_heads))
        self.windows = windows
        self.meta_mlp = LogOffsetBias(windows.size, num_heads, bias_dim, bias_dropout)

    def forward(
        self,
        x: Tensor,
        packing: Packing | None = None,
        position: Tensor | None = None,
        allowed: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """Tokens [B, N, C] of a whole grid -> same shape; the other arguments of :class:`Attention` must be None."""
        if any(value is not None for value in (packing, position, allowed, bias)):
            raise ValueError("ShiftedWindowAttention takes whole grids of dense tokens, without packing or masks")
        return self.windows(self._attend, x)

    def _attend(self, rows: Tensor) -> Tensor:
        bias = self.meta_mlp()[None]  # [1, H, L, L]
        if self.windows.penalty is not None:
            bias = (bias + self.windows.penalty).expand(len(rows) // self.windows.count, -1, -1, -1, -1).flatten(0, 1)
        query, key, value = self._heads(*self._project(rows, None))
        return self.proj(attention(query, key, value, bias=bias).flatten(-2))
