"""Radial masking of LiDAR voxels (R-MAE, arXiv 2406.07833): keep random angular sectors, thinned by range.

Two frames exist for the same idea and give different masks:

* ``mode="sensor"``, the method as described: azimuth about the sensor, ranges in metres, sectors drawn per cloud.
* ``mode="corner_index"``, the published code: azimuth and range about the minimum corner of the grid, in voxel
  indices, measured from the y axis, sectors drawn once for the whole batch. Angles fill only 0 to 90 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.errors import OperatorInputError
from mae3d.ops._checks import check_range, check_same_device, check_tensor, require
from mae3d.ops._library import define
from mae3d.ops.reference import radial_mask as reference

BAND_BONUS = (0.0, 0.2, 0.4)
"""Added to the keep ratio in the near, middle and far band (two-stage masking)."""


class RadialMask(NamedTuple):
    """Which voxels stay; both row lists ascend and together hold every voxel once."""

    visible: Tensor
    """int64 [K]: rows of the voxels that are kept."""
    masked: Tensor
    """int64 [V - K]: rows of the voxels that are hidden."""
    kept_sectors: Tensor
    """bool [clouds, S] ([1, S] where sectors are shared): sectors that were kept. Pass it back to replay a mask."""


def radial_mask(
    coordinates: Tensor,
    mask_ratio: float,
    *,
    mode: str = "sensor",
    voxel_size: Sequence[float] | None = None,
    point_range: Sequence[float] | None = None,
    sensor_origin: Sequence[float] = (0.0, 0.0),
    sector_degrees: float = 1.0,
    range_bands: Sequence[float] | None = None,
    num_clouds: int = 1,
    share_sectors: bool | None = None,
    minimum_visible: float | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    kept_sectors: Tensor | None = None,
    scores: Tensor | None = None,
) -> RadialMask:
    """Choose the visible voxels of a batch by angular sector and, in a second stage, by range.

    Stage one keeps ``int((1 - mask_ratio) * G)`` of the G sectors that hold a voxel, at random. Stage two (with
    ``range_bands``) keeps of each kept sector a random ``int(s n)`` of its n near voxels, ``int((s + 0.2) n)`` of the
    middle and ``int((s + 0.4) n)`` of the far ones, s = 1 - mask_ratio. No voxel is returned twice (the published
    code's shuffle duplicates some).

    Args:
        coordinates: int64 or int32 [V, 4]: (cloud, z, y, x).
        mask_ratio: Share of sectors to hide, in [0, 1].
        mode: "sensor" or "corner_index", see the module.
        voxel_size: (x, y, z) in metres; "sensor" needs it.
        point_range: (x_min, y_min, ...) in metres of the grid; "sensor" needs it.
        sensor_origin: (x, y) of the sensor in metres, for "sensor".
        sector_degrees: Width R of a sector; sectors are [0, R), [R, 2R), ..., S = ceil(360 / R).
        range_bands: (near, middle) limits: near d <= near, middle d <= middle, far beyond. Metres for "sensor",
            voxels for "corner_index" (published: 30, 50). None: one stage.
        num_clouds: Clouds in the batch.
        share_sectors: Draw sectors once for all clouds. Default: False for "sensor", True for "corner_index".
        minimum_visible: If fewer than ``max(1, int(minimum_visible * V))`` voxels would stay, a uniform random
            ``int(minimum_visible * V)`` of all voxels stays instead. Default: the published guard 0.1 for one-stage
            "corner_index", otherwise 0 (off).
        generator: Source of randomness; None: the global generator of the device of ``coordinates``. With a CPU
            generator the mask is the same on every device.
        seed: Instead of a generator.
        kept_sectors: bool [clouds or 1, S]: replaces the draw of stage one.
        scores: float32 [V]: replaces the draw of stage two and of ``minimum_visible``: lowest scores are kept.

    Returns:
        :class:`RadialMask`. The number of visible voxels depends on the values; on CUDA finding it synchronises once.

    Raises:
        OperatorInputError: wrong shape, dtype, or value.
    """
    op = "radial_mask"
    check_tensor(op, "coordinates", coordinates, (None, 4), (torch.int64, torch.int32))
    check_range(op, "mask_ratio", mask_ratio, 0.0, 1.0)
    check_range(op, "sector_degrees", sector_degrees, 1e-3, 360.0)
    check_range(op, "num_clouds", num_clouds, 0, 99999)
    require(generator is None or seed is None, f"{op}: give 'generator' or 'seed', not both")
    scale, origin = _frame(op, mode, voxel_size, point_range, sensor_origin)
    corner = mode == "corner_index"
    shared = corner if share_sectors is None else share_sectors
    if minimum_visible is None:
        minimum_visible = 0.1 if corner and range_bands is None else 0.0
    check_range(op, "minimum_visible", minimum_visible, 0.0, 1.0)
    bands = _bands(op, range_bands)

    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
    groups, counts = _radial_groups(
        coordinates.long(), scale, origin, corner, float(sector_degrees), bands, num_clouds, shared
    )
    sectors = math.ceil(360 / sector_degrees)
    counts = counts.view(-1, sectors, 3)  # [clouds or 1, S, band]
    if kept_sectors is None:
        kept_sectors = _draw_sectors(counts.sum(2) > 0, mask_ratio, generator)
    else:
        check_tensor(op, "kept_sectors", kept_sectors, (None, sectors), (torch.bool,))
        check_same_device(op, coordinates=coordinates, kept_sectors=kept_sectors)
        kept_sectors = kept_sectors.expand(counts.shape[0], sectors)
    share = [min(1.0, 1.0 - mask_ratio + bonus) for bonus in BAND_BONUS] if range_bands is not None else [1.0] * 3
    quota = (counts * torch.tensor(share, dtype=torch.float64, device=counts.device)).long()
    quota = (quota * kept_sectors[:, :, None]).flatten()
    if range_bands is None and minimum_visible == 0:
        scores = coordinates.new_empty(0, dtype=torch.float32)
    elif scores is None:
        scores = _uniform((coordinates.shape[0],), coordinates.device, generator)
    else:
        check_tensor(op, "scores", scores, (coordinates.shape[0],), (torch.float32,))
        check_same_device(op, coordinates=coordinates, scores=scores)
    if minimum_visible > 0:
        groups, quota = _guard(groups, quota, int(minimum_visible * coordinates.shape[0]))
    return RadialMask(*_radial_select(groups, quota, scores), kept_sectors)


def _frame(op, mode, voxel_size, point_range, sensor_origin) -> tuple[list[float], list[float]]:
    """Metres or voxels: position = index * scale + origin, for x and y."""
    if mode == "corner_index":
        return [1.0, 1.0], [0.0, 0.0]
    require(mode == "sensor", f"{op}: 'mode' must be 'sensor' or 'corner_index', got {mode!r}")
    if voxel_size is None or point_range is None:
        raise OperatorInputError(f"{op}: mode 'sensor' needs 'voxel_size' and 'point_range' to place voxels in metres")
    scale = [float(size) for size in voxel_size[:2]]
    origin = [float(low) + size / 2 - float(sensor) for low, size, sensor in zip(point_range[:2], scale, sensor_origin)]
    return scale, origin


def _bands(op: str, range_bands: Sequence[float] | None) -> list[float]:
    if range_bands is None:
        return [-1.0, -1.0]
    require(
        len(range_bands) == 2 and 0 <= range_bands[0] <= range_bands[1],
        f"{op}: 'range_bands' must be (near, middle) with 0 <= near <= middle, got {list(range_bands)}",
    )
    return [float(value) for value in range_bands]


def _uniform(shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None) -> Tensor:
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source).to(device)


def _draw_sectors(present: Tensor, mask_ratio: float, generator: torch.Generator | None) -> Tensor:
    """Random ``int((1 - mask_ratio) * G)`` of the G present sectors of each row: bool [rows, S]."""
    draw = _uniform(tuple(present.shape), present.device, generator).masked_fill(~present, 2.0)
    rank = draw.argsort(dim=1, stable=True).argsort(dim=1)
    # The product in float64 as Python's: 0.2 * 90 falls just below 18.
    keep = (present.sum(1).double() * (1.0 - mask_ratio)).long()
    return present & (rank < keep[:, None])


def _guard(groups: Tensor, quota: Tensor, floor: int) -> tuple[Tensor, Tensor]:
    """Where the quotas leave fewer than max(1, floor) voxels: one group of all voxels with quota ``floor``."""
    few = quota.sum() < max(1, floor)
    instead = torch.zeros_like(quota)
    instead[:1] = floor
    return torch.where(few, 0, groups), torch.where(few, instead, quota)


def _select_fake(groups, quota, scores):
    context = torch.library.get_ctx()
    return groups.new_empty(context.new_dynamic_size()), groups.new_empty(context.new_dynamic_size())


def _groups_fake(coordinates, scale, origin, from_y, sector_degrees, bands, clouds, shared):
    total = (1 if shared else clouds) * math.ceil(360 / sector_degrees) * 3
    return coordinates.new_empty(coordinates.shape[0]), coordinates.new_empty(total)


_radial_groups = define(
    "radial_groups(Tensor coordinates, float[] scale, float[] origin, bool from_y, float sector_degrees,"
    " float[] bands, SymInt clouds, bool shared) -> (Tensor, Tensor)",
    reference=reference.radial_groups,
    fake=_groups_fake,
)

_radial_select = define(
    "radial_select(Tensor groups, Tensor quota, Tensor scores) -> (Tensor, Tensor)",
    reference=reference.radial_select,
    fake=_select_fake,
)
