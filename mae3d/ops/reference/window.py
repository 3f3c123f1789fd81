"""Window partition and packed layout by index arithmetic and a stable sort; see ``csrc/window/window.h``."""

from __future__ import annotations

import torch
from torch import Tensor


def window_partition(coordinates: Tensor, window: list[int], grid: list[int], shifted: bool) -> tuple[Tensor, Tensor]:
    """Window identifiers and in-window coordinates (z, y, x)."""
    size = coordinates.new_tensor(window[::-1])  # z, y, x from here on
    cells = coordinates.new_tensor(grid[::-1])
    shift = size // 2 if shifted else size.clone()
    if window[2] >= grid[2]:
        shift[0] = 0
    count = (cells + size - 1) // size + 1
    cloud, zyx = coordinates[:, 0], coordinates[:, 1:]
    kept = ((zyx >= 0) & (zyx < cells)).all(1) & (cloud >= 0)
    moved = zyx + shift
    z, y, x = (moved // size).unbind(1)
    windows = ((cloud * count[2] + x) * count[1] + y) * count[0] + z
    return torch.where(kept, windows, -1), torch.where(kept[:, None], moved % size, -1)


def window_attention_layout(windows: Tensor, bound: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Rows sorted by window."""
    kept = (windows >= 0) & (windows < bound) if bound else windows >= 0
    rows = kept.nonzero().squeeze(1)
    order = rows[windows[rows].argsort(stable=True)]
    present, counts = windows[order].unique_consecutive(return_counts=True)
    offsets = torch.cat((counts.new_zeros(1), counts.cumsum(0)))
    inverse = torch.full_like(windows, -1).index_copy(0, order, torch.arange(len(order), device=order.device))
    longest = counts.max() if len(counts) else counts.new_zeros(())
    return order, offsets, present, inverse, longest.cpu()
