"""What stands in annotated boxes, cut out of drives: labelled clouds for probes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mae3d.datasets.base import SampleDataset
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS


@DATASETS.register_module()
class BoxCrops(SampleDataset):
    """One sample for each box: the points of a square column around it, ``label`` its class, and ``index``.

    x and y are moved to the centre of the box, z stays: the ground lies where it does in a whole sweep. All frames are
    read once, when the data set is made. Batches are made by :func:`mae3d.datasets.objects.collate_clouds`.

    Args:
        dataset: Frames with ``boxes`` and ``box_labels``, a data set or its config.
        size: Side of the square, metres.
        min_points: Boxes with fewer points in their column are left out, as are those of no scored class.
        frames: (first, last + 1) of the frames to take; None: all.
        **options: ``seed`` and ``on_error`` of :class:`SampleDataset`.

    Raises:
        ConfigError: A size that is not positive.
        DataError: No box is left.
    """

    def __init__(
        self,
        dataset: SampleDataset | dict[str, Any],
        size: float = 6.0,
        min_points: int = 20,
        frames: tuple[int, int] | None = None,
        **options: Any,
    ) -> None:
        if size <= 0:
            raise ConfigError(f"BoxCrops: size must be above 0 m, got {size}")
        super().__init__(**options)
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.classes = self.dataset.classes
        self.size, self.min_points = size, min_points
        self.crops: list[tuple[Tensor, int, int]] = []  # points, label, frame
        for frame in range(len(self.dataset))[slice(*(frames or (None,)))]:
            self.crops += [(points, label, frame) for points, label in self._cut(self.dataset[frame])]
        if not self.crops:
            raise DataError(
                f"BoxCrops: no box with {min_points} points in frames {frames or 'all'} of {len(self.dataset)}; lower "
                "min_points or take other frames"
            )
        self.prepare_skipping()

    def __len__(self) -> int:
        return len(self.crops)

    def sample_name(self, index: int) -> str:
        """File of the frame and class."""
        _, label, frame = self.crops[int(index)]
        return f"{self.dataset.sample_name(frame)} ({self.classes[label]})"

    def load(self, index: int) -> dict[str, Any]:
        """Crop ``index``."""
        points, label, _ = self.crops[int(index)]
        return {"points": points, "label": torch.tensor(label), "index": torch.tensor(int(index))}

    def _cut(self, sample: dict[str, Any]) -> list[tuple[Tensor, int]]:
        found = []
        for box, label in zip(sample["boxes"], sample["box_labels"].tolist()):
            inside = ((sample["points"][:, :2] - box[:2]).abs() <= self.size / 2).all(dim=1)
            if label >= 0 and int(inside.sum()) >= self.min_points:
                points = sample["points"][inside]
                points[:, :2] -= box[:2]
                found.append((points, label))
        return found
