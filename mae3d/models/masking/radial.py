"""Radial masking: whole angular sectors of a scan are hidden (R-MAE, arXiv 2406.07833, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from mae3d import ops
from mae3d.errors import ConfigError
from mae3d.models.masking.random import check_ratio
from mae3d.registry import MODELS
from mae3d.structures import VoxelMask, Voxels

PUBLISHED_BANDS = {"sensor": (3.0, 5.0), "corner_index": (30.0, 50.0)}
"""Limits of the near and the middle band: metres for "sensor", voxels for "corner_index"; 30 and 50 voxels of the
published code are 3 and 5 metres on the Waymo and nuScenes grids."""


@MODELS.register_module()
class RadialMasking(nn.Module):
    """Keeps random angular sectors of every cloud; in a second stage it thins them by range.

    Args:
        ratio: Share of hidden sectors: ``int((1 - ratio) * G)`` of the G sectors that hold a voxel stay, in float64
            (G = 90 keeps 17 at ratio 0.8, not 18).
        mode: "sensor": azimuth about the sensor, ranges in metres, sectors drawn per cloud: the method as described.
            "corner_index": the published code: about the minimum corner of the grid, in voxel indices, one draw for
            the whole batch. See :func:`mae3d.ops.radial_mask`.
        sector_degrees: Width of a sector.
        range_bands: (near, middle) limits of the second stage, which keeps the shares s, s + 0.2 and s + 0.4 of the
            near, middle and far voxels of a kept sector, s = 1 - ratio. None: one stage.
        share_sectors: One draw for all clouds of a batch; None: as published in "corner_index", per cloud in "sensor".
        minimum_visible: Where fewer than this share of the batch's voxels stays, so many are drawn uniformly
            instead. None: 0.1 in one-stage "corner_index" (published), else no such guard.
        sensor_origin: (x, y) of the sensor in the frame of the points, metres.

    Raises:
        ConfigError: A ratio outside [0, 1) or an unknown mode.
    """

    def __init__(
        self,
        ratio: float = 0.8,
        mode: Literal["sensor", "corner_index"] = "sensor",
        *,
        sector_degrees: float = 1.0,
        range_bands: Sequence[float] | None = None,
        share_sectors: bool | None = None,
        minimum_visible: float | None = None,
        sensor_origin: Sequence[float] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        if mode not in PUBLISHED_BANDS:
            raise ConfigError(f'RadialMasking: mode must be "sensor" or "corner_index", got {mode!r}')
        self.ratio = check_ratio(ratio)
        self.mode = mode
        self.sector_degrees = sector_degrees
        self.range_bands = None if range_bands is None else tuple(range_bands)
        self.share_sectors = share_sectors
        self.minimum_visible = minimum_visible
        self.sensor_origin = tuple(sensor_origin)

    def forward(self, voxels: Voxels, generator: torch.Generator | None = None) -> VoxelMask:
        """Draw a mask over the voxels of a batch; randomness from ``generator`` or the global RNG."""
        drawn = self.draw(voxels, generator)
        return VoxelMask(drawn.visible, drawn.masked)

    def draw(self, voxels: Voxels, generator: torch.Generator | None = None) -> ops.RadialMask:
        """Like :meth:`forward`, with the sectors that were kept."""
        return ops.radial_mask(
            voxels.coordinates,
            self.ratio,
            mode=self.mode,
            voxel_size=voxels.grid.voxel_size,
            point_range=voxels.grid.point_range,
            sensor_origin=self.sensor_origin,
            sector_degrees=self.sector_degrees,
            range_bands=self.range_bands,
            num_clouds=voxels.batch_size,
            share_sectors=self.share_sectors,
            minimum_visible=self.minimum_visible,
            generator=generator,
        )

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        bands = "" if self.range_bands is None else f", range_bands={self.range_bands}"
        return f"ratio={self.ratio}, mode={self.mode!r}, sector_degrees={self.sector_degrees}{bands}"
