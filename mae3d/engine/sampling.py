"""Which sample comes when: a sampler that can start anywhere, and samples that carry their own seed."""

from __future__ import annotations

import math
import random
import signal
from collections.abc import Iterator, Sized

import numpy as np
import torch
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import DataLoader, Dataset, Sampler

from mae3d.engine.seeding import mix
from mae3d.errors import ConfigError
from mae3d.registry import DATA_SAMPLERS, DATASETS, FUNCTIONS


class SampleKey(int):
    """Index of a sample, with the seed under which its random choices are drawn."""

    seed: int

    def __new__(cls, index: int, seed: int = 0) -> SampleKey:
        """Make an ``int`` that remembers ``seed`` (also through pickle, on its way to a data worker)."""
        key = super().__new__(cls, index)
        key.seed = seed
        return key


@DATA_SAMPLERS.register_module()
class EpochSampler(Sampler):
    """Every sample once an epoch, in an order that depends on ``(seed, epoch)`` alone.

    Rank ``r`` of ``W`` takes positions ``r, r + W, ...``, so W processes with batch size ``B / W`` see together the
    batches that one process with batch size ``B`` sees.

    Args:
        dataset: What is sampled; only its length is used.
        shuffle: Draw a new permutation each epoch; otherwise the order of the data set.
        seed: Seed shared by all ranks; None agrees on a random one.
        round_up: Repeat the first samples so that every rank gets the same number.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None, round_up: bool = True) -> None:
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.round_up = round_up
        self.rank, self.world_size = get_dist_info()
        self.epoch = 0
        self.start = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation; a position inside the same epoch is kept."""
        if epoch != self.epoch:
            self.set_position(epoch, 0)

    def set_position(self, epoch: int, start: int) -> None:
        """Let the next pass begin after the first ``start`` samples of this rank in ``epoch``."""
        self.epoch = epoch
        self.start = start

    def __iter__(self) -> Iterator[SampleKey]:
        for index in self._order()[self.start :]:
            yield SampleKey(index, mix(self.seed, self.epoch, index))

    def __len__(self) -> int:
        """Samples of this rank in a full epoch, wherever the next pass begins."""
        count = self._count()
        if self.round_up:
            return math.ceil(count / self.world_size)
        return math.ceil((count - self.rank) / self.world_size)

    def _count(self) -> int:
        """Samples of an epoch, of all ranks together."""
        return len(self.dataset)

    def _drawn(self) -> list[int]:
        """Their order."""
        count = self._count()
        return torch.randperm(count, generator=self._generator()).tolist() if self.shuffle else list(range(count))

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(mix(self.seed, self.epoch) & (1 << 63) - 1)

    def _order(self) -> list[int]:
        order = self._drawn()
        if self.round_up and order:
            total = math.ceil(len(order) / self.world_size) * self.world_size
            order = (order * math.ceil(total / len(order)))[:total]
        return order[self.rank :: self.world_size]


@DATA_SAMPLERS.register_module()
class WeightedSampler(EpochSampler):
    """A fixed number of samples an epoch, drawn by the weights of the data set (``sample_weights``).

    Args:
        dataset: Has ``sample_weights() -> [N]``, as :class:`mae3d.datasets.audio.AudioTable`.
        samples: Draws an epoch; None: as many as there are samples.
        replacement: Whether a sample may be drawn again in the same epoch.
        seed, round_up: See :class:`EpochSampler`.

    Raises:
        ConfigError: The data set has no weights, or not as many as samples, or fewer samples than are drawn.
    """

    def __init__(
        self,
        dataset: Sized,
        samples: int | None = None,
        replacement: bool = False,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        super().__init__(dataset, True, seed, round_up)
        if not hasattr(dataset, "sample_weights"):
            raise ConfigError(f"WeightedSampler: {type(dataset).__name__} has no sample_weights()")
        self.weights = dataset.sample_weights()
        if len(self.weights) != len(dataset):
            raise ConfigError(
                f"WeightedSampler: {len(self.weights)} weights for {len(dataset)} samples; it needs one each"
            )
        self.samples = len(dataset) if samples is None else samples
        self.replacement = replacement
        if self.samples < 1:
            raise ConfigError(f"WeightedSampler: samples must be positive, got {self.samples}")
        possible = int(self.weights.count_nonzero())
        if not replacement and self.samples > possible:
            raise ConfigError(
                f"WeightedSampler: {self.samples} draws from {possible} samples with a weight; set replacement=True"
            )

    def _count(self) -> int:
        return self.samples

    def _drawn(self) -> list[int]:
        return torch.multinomial(self.weights, self.samples, self.replacement, generator=self._generator()).tolist()


@DATASETS.register_module()
class SeededDataset(Dataset):
    """A data set whose random choices follow the seed of the sample and not the history of the process.

    The loops of this package wrap every data set in it. Where the index is a `SampleKey`, the global generators of
    python, numpy and torch are seeded before the sample is read; plain integers pass as they are. Every other
    attribute is the wrapped data set's.
    """

    def __init__(self, dataset: dict | Dataset) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int):
        seed = getattr(index, "seed", None)
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed & 0xFFFFFFFF)
            torch.default_generator.manual_seed(seed & (1 << 63) - 1)
        # The key goes on: data sets of this package draw from its seed and touch no global generator.
        return self.dataset[index]

    @property
    def metainfo(self) -> dict:
        """What mmengine shows and stores about the data: the class names, where there are any."""
        return getattr(self.dataset, "metainfo", {"classes": list(getattr(self.dataset, "classes", []))})

    def __getattr__(self, name: str):
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)


@FUNCTIONS.register_module()
def initialise_worker(worker_id: int, **unused) -> None:
    """Leave Ctrl-C to the main process, which saves and then ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def seeded(dataloader: dict | DataLoader) -> dict | DataLoader:
    """Return the data loader's config with seeded samples, stacking collation and quiet workers.

    Memory is pinned only where there is a GPU to copy to.

    Only a config can be changed; a `DataLoader` that was built already is returned as it is.
    """
    if not isinstance(dataloader, dict):
        return dataloader
    settings = dict(dataloader)
    settings["dataset"] = {"type": SeededDataset, "dataset": settings["dataset"]}
    settings.setdefault("sampler", {"type": EpochSampler})
    settings.setdefault("collate_fn", {"type": "default_collate"})
    settings.setdefault("worker_init_fn", {"type": "mae3d.initialise_worker"})
    settings["pin_memory"] = settings.get("pin_memory", False) and torch.cuda.is_available()
    return settings


def place(dataloader: DataLoader, seed: int, epoch: int, batches: int) -> None:
    """Let the next pass over ``dataloader`` begin after the first ``batches`` of ``epoch``.

    Raises:
        ConfigError: The position lies inside an epoch and the sampler cannot go there.
    """
    sampler = dataloader.sampler
    if hasattr(dataloader.dataset, "set_epoch"):
        dataloader.dataset.set_epoch(epoch)
    if isinstance(sampler, EpochSampler) and dataloader.batch_size is not None:
        sampler.seed = seed
        sampler.set_position(epoch, batches * dataloader.batch_size)
        return
    if batches:
        raise ConfigError(
            f"train_dataloader.sampler: cannot resume after batch {batches} of epoch {epoch}: "
            f"{type(sampler).__name__} has no position; expected EpochSampler with a fixed batch size. "
            "Resume from a checkpoint of a whole epoch, or use EpochSampler"
        )
    if hasattr(sampler, "set_epoch"):
        sampler.set_epoch(epoch)
