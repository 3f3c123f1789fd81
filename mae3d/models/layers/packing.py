"""Layout of packed tokens: which rows belong to which sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True)
class Packing:
    """Rows ``offsets[b] : offsets[b + 1]`` of a packed tensor are the tokens of sample b.

    Attributes:
        offsets: int64 [B + 1], starts with 0, never falls.
        sample: int64 [T], the sample of every row.
        max_length: Largest number of tokens in one sample.
    """

    offsets: Tensor
    sample: Tensor
    max_length: int

    @classmethod
    def from_offsets(cls, offsets: Tensor) -> Packing:
        """Layout from offsets [B + 1]; reads one number back from the device."""
        counts = offsets.diff()
        sample = torch.repeat_interleave(counts)
        return cls(offsets, sample, int(counts.max()) if counts.numel() else 0)

    @property
    def batch_size(self) -> int:
        """B."""
        return self.offsets.shape[0] - 1

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """(tokens, samples) of each run of neighbouring samples of equal length; reads the offsets back once."""
        return [(length, len(list(run))) for length, run in groupby(self.offsets.diff().tolist())]

    def prepend(self, count: int) -> tuple[Packing, Tensor, Tensor]:
        """Room for ``count`` further tokens at the head of every sample.

        Returns:
            The wider layout, the new rows [B, count] of the heads, and the new row [T] of every old token.
        """
        samples = torch.arange(self.batch_size + 1, device=self.offsets.device)
        offsets = self.offsets + count * samples
        heads = offsets[:-1, None] + torch.arange(count, device=offsets.device)
        rows = torch.arange(self.sample.shape[0], device=offsets.device) + count * (self.sample + 1)
        sample = torch.empty(rows.shape[0] + heads.numel(), dtype=torch.int64, device=offsets.device)
        sample[rows] = self.sample
        sample[heads] = samples[:-1, None].expand_as(heads)
        return Packing(offsets, sample, self.max_length + count), heads, rows
