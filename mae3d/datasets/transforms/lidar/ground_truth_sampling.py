"""Paste annotated objects of other frames into a scene (SECOND, section 3.4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mae3d.datasets.lidar.ground_truth import GroundTruthDatabase
from mae3d.datasets.transforms.lidar.scene import clouds_of
from mae3d.errors import ConfigError
from mae3d.ops.box_iou import box_iou_bev
from mae3d.ops.points_in_boxes import points_in_boxes
from mae3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class GroundTruthSampling:
    """Paste objects from a database until a scene has enough of each class, where they collide with nothing.

    It needs labels: a pre-training run that uses it is not label-free. Objects keep their place relative to the sensor,
    so that their density fits. A candidate that overlaps an object of the scene, or one that was pasted before, seen
    from above, is dropped (the published code drops both of two candidates that collide). Points of the scene inside a
    pasted box are removed. Where a scene has an earlier frame, objects are pasted into both, at the same place.

    Args:
        database: :class:`GroundTruthDatabase` or its file.
        counts: Class name -> number of objects.
        fill_up: Paste ``counts`` minus the objects that the scene has; otherwise always ``counts``.
        min_points: Least number of points of a pasted object, for all classes or by name.
        margin: Metres by which a pasted box is enlarged on each side before points of the scene are removed.
    """

    def __init__(
        self,
        database: GroundTruthDatabase | str | Path,
        counts: Mapping[str, int],
        *,
        fill_up: bool = False,
        min_points: int | Mapping[str, int] = 5,
        margin: float = 0.0,
    ) -> None:
        if not isinstance(database, GroundTruthDatabase):
            database = GroundTruthDatabase.load(database)
        unknown = sorted(set(counts) - set(database.classes))
        if unknown:
            raise ConfigError(f"GroundTruthSampling: no classes {unknown}, the database has {list(database.classes)}")
        self.database, self.fill_up, self.margin = database, fill_up, margin
        self.pools: dict[int, tuple[int, np.ndarray]] = {}
        for name, count in counts.items():
            label = database.classes.index(name)
            least = min_points if isinstance(min_points, int) else min_points.get(name, 1)
            self.pools[label] = (count, np.flatnonzero((database.labels == label) & (database.counts >= least)))

    def __call__(self, sample: dict[str, Any], generator: np.random.Generator) -> dict[str, Any]:
        """A new sample with pasted objects at the end of its points and boxes."""
        chosen = self._without_collisions(self._candidates(sample["box_labels"], generator), sample["boxes"])
        if len(chosen) == 0:
            return sample
        boxes = torch.from_numpy(self.database.boxes[chosen]).to(sample["boxes"])
        pasted = [torch.from_numpy(self.database.object_points(number)) for number in chosen]
        width = sample["points"].shape[1]
        if pasted[0].shape[1] != width:
            raise ConfigError(
                f"GroundTruthSampling: the database has points of {pasted[0].shape[1]} columns, the data set of "
                f"{width}; build it with the same sweeps and features"
            )
        clouds = {name: torch.cat((self._outside(sample[name], boxes), *pasted)) for name, _ in clouds_of(sample)}
        return {
            **sample,
            **clouds,
            "boxes": torch.cat((sample["boxes"], boxes)),
            "box_labels": torch.cat((sample["box_labels"], torch.from_numpy(self.database.labels[chosen]))),
            "box_points": torch.cat((sample["box_points"], torch.from_numpy(self.database.counts[chosen]))),
        }

    def _candidates(self, labels: Tensor, generator: np.random.Generator) -> np.ndarray:
        drawn = []
        for label, (count, pool) in self.pools.items():
            missing = count - int((labels == label).sum()) if self.fill_up else count
            drawn.append(generator.choice(pool, min(max(missing, 0), len(pool)), replace=False))
        return np.concatenate(drawn).astype(np.int64) if drawn else np.zeros(0, dtype=np.int64)

    def _without_collisions(self, candidates: np.ndarray, existing: Tensor) -> np.ndarray:
        boxes = torch.from_numpy(self.database.boxes[candidates, :7])
        everything = torch.cat((boxes, existing[:, :7].to(boxes)))
        overlap = (box_iou_bev(boxes, everything) > 0).numpy()  # [candidates, candidates + existing]
        free = ~overlap[:, len(boxes) :].any(axis=1)
        for row in range(len(boxes)):
            free[row] &= not overlap[row, :row][free[:row]].any()
        return candidates[free]

    def _outside(self, points: Tensor, boxes: Tensor) -> Tensor:
        grown = boxes[:, :7].clone()
        grown[:, 3:6] += 2 * self.margin
        return points[points_in_boxes(points[None, :, :3].contiguous(), grown[None]).index[0] < 0]
