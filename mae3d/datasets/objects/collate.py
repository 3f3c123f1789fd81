"""Batches of object clouds of different sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch


def collate_clouds(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Packed batch: ``points`` [T, C] and ``offsets`` int64 [B + 1]; labels and indices stacked.

    Values per point other than ``points`` are left out.
    """
    points = [sample["points"] for sample in samples]
    batch = {"points": torch.cat(points), "offsets": torch.tensor([0, *map(len, points)]).cumsum(0)}
    for name in ("label", "index"):
        if name in samples[0]:
            batch[name] = torch.stack([torch.as_tensor(sample[name]) for sample in samples])
    return batch
