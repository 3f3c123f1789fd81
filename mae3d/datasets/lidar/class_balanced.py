"""Class-balanced resampling (CBGS, section 3.1): frames with rare classes come more often."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.utils.data import Dataset

from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import FrameIndex
from mae3d.errors import DataError
from mae3d.registry import DATASETS


def class_balanced_frames(index: FrameIndex, seed: int = 0) -> np.ndarray:
    """Frame numbers [R], every class drawn equally often.

    With n_c frames that show class c and shares s_c = n_c / sum n, class c draws floor(n_c (1 / C) / s_c) of its
    frames with replacement, as OpenPCDet and the authors do: about sum n / C for each of the C classes. Classes that
    no frame shows are left out of C's draws.

    Raises:
        DataError: no frame shows a scored object.
    """
    owner = np.repeat(np.arange(len(index)), np.diff(index.box_offsets))
    generator = np.random.default_rng(seed)
    frames_of = [np.unique(owner[index.labels == label]) for label in range(len(index.classes))]
    total = sum(len(frames) for frames in frames_of)
    if total == 0:
        raise DataError(f"{index.dataset}: no frame shows an object of the classes {list(index.classes)}")
    drawn = []
    for frames in frames_of:
        if len(frames):
            ratio = (1 / len(index.classes)) / (len(frames) / total)
            drawn.append(generator.choice(frames, int(len(frames) * ratio)))
    return np.concatenate(drawn)


class _Draw(int):
    """Frame number with a seed of its own, so that a frame drawn twice is augmented in two ways."""

    seed: int

    def __new__(cls, index: int, seed: int = 0) -> _Draw:
        draw = super().__new__(cls, index)
        draw.seed = seed
        return draw


@DATASETS.register_module()
class ClassBalanced(Dataset):
    """A driving data set resampled by :func:`class_balanced_frames`; all else is that of the data set inside.

    Args:
        dataset: :class:`LidarDataset` or its config.
        seed: Seed of the resampling.
    """

    def __init__(self, dataset: LidarDataset | dict[str, Any], seed: int = 0) -> None:
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.numbers = class_balanced_frames(self.dataset.frames, seed)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ClassBalanced: sample {int(index)} of {len(self)}")
        position = int(index) % len(self)
        seed = getattr(index, "seed", self.dataset.epoch * len(self) + position)
        return self.dataset[_Draw(int(self.numbers[position]), seed)]

    def sample_name(self, index: int) -> str:
        """Point file of a frame of the data set inside, which ``index`` of its samples counts."""
        return self.dataset.sample_name(index)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset" or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.dataset, name)
