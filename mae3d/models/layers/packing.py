"""Layout of packed tokens: which rows belong to which sample."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import NamedTuple

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

    @cached_property
    def places(self) -> Tensor:
        """int64 [T], number of every row within its sample."""
        return torch.arange(self.sample.shape[0], device=self.offsets.device) - self.offsets[self.sample]

    @cached_property
    def slot(self) -> Tensor:
        """int64 [T], place b * max_length + i of every row when samples are padded to ``max_length``."""
        return self.places + self.sample * self.max_length

    def pad(self, rows: Tensor, value: float = 0) -> Tensor:
        """Packed rows [T, ...] -> [B, max_length, ...], ``value`` behind the rows of shorter samples."""
        padded = rows.new_full((self.batch_size * self.max_length, *rows.shape[1:]), value)
        return padded.index_copy(0, self.slot, rows).unflatten(0, (self.batch_size, self.max_length))

    def unpad(self, padded: Tensor) -> Tensor:
        """Inverse of :meth:`pad`: [B, max_length, ...] -> [T, ...]."""
        return padded.flatten(0, 1)[self.slot]

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


class PaddedSlots(NamedTuple):
    """Where the rows of a :class:`JointPacking` sit when every window is padded to the length of its bucket.

    Attributes:
        buckets: (length, windows) of each bucket, one after the other; together they hold S slots.
        query: int64 [Tq], slot of each query.
        key: int64 [Tk], slot of each key.
        filled: Bool [S], slots that hold a key.
    """

    buckets: list[tuple[int, int]]
    query: Tensor
    key: Tensor
    filled: Tensor


@dataclass(frozen=True)
class JointPacking:
    """Two packed sets of tokens over the same windows; each window holds at least one row of both.

    Attributes:
        query: Layout of the tokens that ask.
        key: Layout of the tokens that are asked.
    """

    query: Packing
    key: Packing

    @staticmethod
    def bucket(query_counts: Tensor, key_counts: Tensor) -> Tensor:
        """Length that windows of these counts [W] are padded to: the next power of two of the larger, at least 4."""
        lengths = 2 ** torch.arange(2, 32, device=query_counts.device)
        return lengths[torch.bucketize(torch.maximum(query_counts, key_counts), lengths)]

    @cached_property
    def slots(self) -> PaddedSlots:
        """Slots of both sets; windows must come in ascending order of their bucket. Reads the buckets back once."""
        counts = [side.offsets.diff() for side in (self.query, self.key)]
        lengths = self.bucket(*counts)
        starts = lengths.cumsum(0) - lengths
        places = []
        for side in (self.query, self.key):
            rows = torch.arange(len(side.sample), device=starts.device)
            places.append(starts[side.sample] + rows - side.offsets[side.sample])
        buckets = [(length, len(list(run))) for length, run in groupby(lengths.tolist())]
        total = sum(length * windows for length, windows in buckets)
        filled = torch.zeros(total, dtype=torch.bool, device=starts.device).index_fill(0, places[1], True)
        return PaddedSlots(buckets, *places, filled)
