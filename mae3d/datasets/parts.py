"""Data sets in a row, told apart by their labels."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch.utils.data import Dataset

from mae3d.datasets.base import SampleDataset
from mae3d.errors import ConfigError
from mae3d.registry import DATASETS


@DATASETS.register_module()
class LabelledParts(Dataset):
    """Several data sets in a row; the label of a sample is the number of the one that it comes from.

    For probes of something that no annotation tells, such as the pace of a clip: one part for each step between frames.

    Args:
        parts: The data sets, or their configs.

    Raises:
        ConfigError: There is no part, or one is empty.
    """

    def __init__(self, parts: Sequence[SampleDataset | dict[str, Any]]) -> None:
        self.parts = [DATASETS.build(part) if isinstance(part, dict) else part for part in parts]
        sizes = [len(part) for part in self.parts]
        if not sizes or min(sizes) == 0:
            raise ConfigError(f"LabelledParts: needs parts with samples, got parts of {sizes}")
        self.ends = list(accumulate(sizes))
        self.classes = tuple(str(number) for number in range(len(sizes)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"LabelledParts: sample {index} of {len(self)}")
        part, row = self._place(index)
        # The seed that the runner's sampler gave the index goes with it.
        key = type(index)(row, index.seed) if hasattr(index, "seed") else row
        return {**self.parts[part][key], "label": torch.tensor(part), "index": torch.tensor(int(index))}

    def sample_name(self, index: int) -> str:
        """Number of the part and file."""
        part, row = self._place(index)
        return f"part {part}: {self.parts[part].sample_name(row)}"

    def _place(self, index: int) -> tuple[int, int]:
        part = bisect_right(self.ends, int(index))
        return part, int(index) - (self.ends[part - 1] if part else 0)
