"""Example batches, one per kind of input, small enough for every ``*_test`` model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Batch = dict[str, Any]


def point_batch(seed: int) -> Batch:
    """Four object clouds with category and part labels."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "points": torch.randn(4, 96, 3, generator=generator),
        "label": torch.tensor([0, 1, 2, 3]),
        "part_label": torch.randint(0, 4, (4, 96), generator=generator),
        "index": torch.arange(4),
    }


BATCHES: dict[str, Callable[[int], Batch]] = {"points": point_batch}


def example_batch(model: nn.Module, seed: int = 0) -> Batch:
    """A batch that ``model`` takes."""
    return BATCHES[model.modality](seed)
