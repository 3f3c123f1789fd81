"""What every dataset of mae3d shares: named samples, seeds that survive workers and resume, a policy for bad files."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset

from mae3d.errors import ConfigError, DataError

logger = logging.getLogger("mae3d.datasets")


class SampleDataset(Dataset, ABC):
    """Map-style dataset whose random draws depend on (seed, epoch, index) alone.

    Neither the number of workers nor an interruption changes what is drawn. The runner's sampler gives indices that
    carry the seed of (run, epoch, index) as an attribute ``seed``. With plain indices, call :meth:`set_epoch` before
    each epoch; the counter lives in shared memory, so persistent workers see it too.

    Args:
        seed: Seed of all draws.
        on_error: "raise" stops at the first unreadable sample. "skip" gives the next readable sample in its place
            (batches keep their size; in evaluation that sample counts twice), logs each file once and keeps count
            over all workers: see :meth:`skip_report`.
    """

    classes: tuple[str, ...] = ()

    def __init__(self, *, seed: int = 0, on_error: Literal["raise", "skip"] = "raise") -> None:
        if on_error not in ("raise", "skip"):
            raise ConfigError(f'{type(self).__name__}: on_error must be "raise" or "skip", got {on_error!r}')
        self.seed = seed
        self.on_error = on_error
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._skipped: torch.Tensor | None = None

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def sample_name(self, index: int) -> str:
        """File (and place in it) that sample ``index`` comes from."""

    @abstractmethod
    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``; raises DataError where it is unreadable."""

    @property
    def metainfo(self) -> dict[str, Any]:
        """What mmengine hands to visualizers and evaluators."""
        return {"classes": self.classes}

    @property
    def epoch(self) -> int:
        """Epoch that draws belong to."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Let the draws of all workers belong to ``epoch``."""
        self._epoch.fill_(epoch)

    def random_generator(self, index: int) -> np.random.Generator:
        """Generator of sample ``index``, from the seed it carries or else from the current epoch."""
        return np.random.default_rng((self.seed, getattr(index, "seed", self.epoch), int(index)))

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"{type(self).__name__}: sample {index} of {len(self)}")
        index = index if index >= 0 else index + len(self)
        if self.on_error == "raise":
            return self.load(index)
        for step in range(len(self)):
            candidate = (int(index) + step) % len(self)
            if hasattr(index, "seed"):
                candidate = type(index)(candidate, index.seed)
            try:
                return self.load(candidate)
            except DataError as error:
                self._note_skipped(candidate, error)
        raise DataError(f"{type(self).__name__}: none of the {len(self)} samples is readable")

    def prepare_skipping(self) -> None:
        """Allocate the record of skipped samples; subclasses call it once their length is known."""
        if self.on_error == "skip":
            self._skipped = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def _note_skipped(self, index: int, error: DataError) -> None:
        if self._skipped is None:
            self.prepare_skipping()
        if not self._skipped[int(index)]:
            self._skipped[int(index)] = 1
            logger.warning("skipped sample %d: %s", index, error)

    @property
    def skipped(self) -> list[int]:
        """Indices of samples that were skipped so far, in any worker."""
        return [] if self._skipped is None else self._skipped.nonzero().flatten().tolist()

    def skip_report(self) -> str:
        """One sentence: how many samples were skipped, and which."""
        skipped = self.skipped
        if not skipped:
            return f"no sample of {len(self)} was skipped"
        shown = ", ".join(self.sample_name(index) for index in skipped[:10])
        rest = f" and {len(skipped) - 10} more" if len(skipped) > 10 else ""
        return f"{len(skipped)} of {len(self)} samples were skipped: {shown}{rest}"
