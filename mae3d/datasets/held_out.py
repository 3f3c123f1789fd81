"""A training split divided in two, so that a checkpoint can be chosen without looking at the test split."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from torch.utils.data import Dataset

from mae3d.datasets.base import SampleDataset
from mae3d.errors import ConfigError
from mae3d.registry import DATASETS


@DATASETS.register_module()
class HeldOut(Dataset):
    """One part of a data set, divided by a seeded draw; all else is that of the data set inside.

    ModelNet40 and ScanObjectNN publish no validation split, and the papers choose the epoch on the test split. With
    ``part="train"`` for training and ``part="validation"`` for validation the choice is an honest one. The augmented
    variants of ScanObjectNN store several versions of one object in an order that is not documented: a random division
    puts some of them on both sides, and validation looks better than it should there.

    Args:
        dataset: The data set, usually the training split, or its config.
        part: "train" or "validation".
        fraction: Share of the samples that validation gets.
        seed: Seed of the division, apart from the seed of the run.

    Raises:
        ConfigError: Unknown part, or a fraction that leaves one part empty.
    """

    def __init__(
        self,
        dataset: SampleDataset | dict[str, Any],
        part: Literal["train", "validation"],
        *,
        fraction: float = 0.1,
        seed: int = 0,
    ) -> None:
        if part not in ("train", "validation"):
            raise ConfigError(f'HeldOut: part must be "train" or "validation", got {part!r}')
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        total = len(self.dataset)
        held_out = round(fraction * total)
        if not 0 < held_out < total:
            raise ConfigError(f"HeldOut: fraction={fraction} gives validation {held_out} of {total} samples")
        order = np.random.default_rng(seed).permutation(total)
        chosen = order[:held_out] if part == "validation" else order[held_out:]
        self.rows = np.sort(chosen)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = int(self.rows[index])
        # The seed that the runner's sampler gave the index goes with it.
        return self.dataset[type(index)(row, index.seed) if hasattr(index, "seed") else row]

    def sample_name(self, index: int) -> str:
        """File of a sample of the data set inside, which ``index`` of its samples counts."""
        return self.dataset.sample_name(index)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)
