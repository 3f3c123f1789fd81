"""At most so many members of every group."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.ops.window import window_attention_layout


def within_limit(groups: Tensor, limit: int, generator: torch.Generator | None = None) -> Tensor:
    """Rows that stay when every group keeps at most ``limit`` of its members, chosen at random.

    Args:
        groups: int64 [T], the group of each row, at least 0.
        limit: Members kept.
        generator: Source of randomness; None: the global RNG of the device.

    Returns:
        int64, ascending rows.
    """
    layout = window_attention_layout(groups)
    if int(layout.max_length) <= limit:
        return torch.arange(len(groups), device=groups.device)
    device = groups.device if generator is None else generator.device
    shuffle = torch.randperm(len(groups), generator=generator, device=device).to(groups.device)
    layout = window_attention_layout(groups[shuffle])
    counts = layout.offsets.diff()
    rank = torch.arange(len(groups), device=groups.device) - torch.repeat_interleave(layout.offsets[:-1], counts)
    return shuffle[layout.order[rank < limit]].sort().values
