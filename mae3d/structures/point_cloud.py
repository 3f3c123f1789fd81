"""A batch of point clouds with different numbers of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PointCloud:
    """Packed batch of clouds: no padding, one row per point.

    Attributes:
        points: [T, 3] coordinates, float, metres in the sensor or object frame.
        offsets: int64 [B + 1]; cloud b is rows ``offsets[b] : offsets[b + 1]``.
        features: [T, C] further values per point (normal, intensity, time, ...), or None.
    """

    points: Tensor
    offsets: Tensor
    features: Tensor | None = None

    def __post_init__(self) -> None:
        if self.points.dim() != 2 or self.points.shape[1] != 3:
            raise ValueError(f"PointCloud.points must have shape [T, 3], got {list(self.points.shape)}")
        if self.offsets.dim() != 1 or self.offsets.dtype != torch.int64 or len(self.offsets) < 1:
            raise ValueError(
                f"PointCloud.offsets must be int64 [B + 1], got {self.offsets.dtype} {list(self.offsets.shape)}"
            )
        if self.features is not None and self.features.shape[:1] != self.points.shape[:1]:
            raise ValueError(
                f"PointCloud.features must have one row per point, got {list(self.features.shape)} "
                f"for {self.points.shape[0]} points"
            )

    @classmethod
    def from_list(cls, clouds: Sequence[Tensor]) -> PointCloud:
        """Pack clouds [N_b, 3 + C]; columns after the third become features."""
        if not clouds:
            raise ValueError("PointCloud.from_list needs at least one cloud, got none")
        rows = torch.cat(list(clouds))
        counts = torch.tensor([0, *(len(cloud) for cloud in clouds)], device=rows.device)
        features = rows[:, 3:] if rows.shape[1] > 3 else None
        return cls(rows[:, :3], counts.cumsum(0), features)

    @property
    def batch_size(self) -> int:
        """B."""
        return self.offsets.shape[0] - 1

    @property
    def counts(self) -> Tensor:
        """Points per cloud, int64 [B]."""
        return self.offsets.diff()

    def unpack(self) -> list[Tensor]:
        """The clouds as a list of [N_b, 3 + C]."""
        rows = self.points if self.features is None else torch.cat((self.points, self.features), dim=1)
        return list(rows.split(self.counts.tolist()))

    def to(self, device: torch.device | str) -> PointCloud:
        """The same clouds on ``device``."""
        features = None if self.features is None else self.features.to(device)
        return PointCloud(self.points.to(device), self.offsets.to(device), features)
