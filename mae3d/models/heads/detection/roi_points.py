"""Points of regions of interest: a few that lie evenly in each box, in the frame of the box (Graph R-CNN)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mae3d.errors import ConfigError
from mae3d.models.heads.detection.bev_grid import split_boxes
from mae3d.ops.furthest_point_sample import furthest_point_sample_packed
from mae3d.ops.points_in_boxes import points_in_boxes
from mae3d.structures.boxes import rotate_bev

BOXES_AT_ONCE = 64
"""Boxes that are compared with all points in one go: bounds the memory."""


class Inside(NamedTuple):
    """Pairs of a box and a point in it, by rising box, then point."""

    box: Tensor
    """int64 [P]."""
    row: Tensor
    """int64 [P], row of the points."""
    local: Tensor
    """[P, 3], x along the box's heading, origin at its centre, metres."""


class RoiPoints(NamedTuple):
    """K points of each of R boxes."""

    rows: Tensor
    """int64 [R, K], rows of the points; -1 in boxes without points."""
    local: Tensor
    """[R, K, 3], in the frame of the box, metres; 0 in boxes without points."""
    counts: Tensor
    """int64 [R], different points; the K slots repeat them in turn."""


@dataclass(frozen=True)
class RoiPointSampler:
    """Dynamic farthest voxel sampling: one point of each small cell of the box, then the farthest of those.

    Cells are the smaller the farther the box is, as far objects have few points.

    Attributes:
        num_points: K.
        max_cells: Points that take part in farthest point sampling; further cells are left out.
        cell: Side of a cell in a box at the sensor, metres.
        falloff: Distance over which the side falls to 1 / e, metres.
        smallest: Lowest side, metres.
        margin: Added to length, width and height of the box, metres in total.

    Raises:
        ConfigError: Counts or lengths that are not positive, or a negative margin.
    """

    num_points: int = 256
    max_cells: int = 1024
    cell: float = 0.18
    falloff: float = 50.0
    smallest: float = 0.02
    margin: Sequence[float] = (0.8, 0.8, 0.8)

    def __post_init__(self) -> None:
        positive = (self.num_points, self.max_cells, self.cell, self.falloff, self.smallest)
        if min(positive) <= 0 or len(self.margin) != 3 or min(self.margin) < 0:
            raise ConfigError(
                "RoiPointSampler: num_points, max_cells, cell, falloff and smallest must be above 0 and margin three "
                f"lengths of at least 0, got {positive} and {self.margin}"
            )

    @torch.no_grad()
    def __call__(self, points: Tensor, offsets: Tensor, boxes: Tensor, box_offsets: Tensor) -> RoiPoints:
        """Choose the points of all boxes of a batch.

        Args:
            points: [T, 3 or more], metres.
            offsets: int64 [B + 1].
            boxes: [R, 7], see :mod:`mae3d.structures.boxes`.
            box_offsets: int64 [B + 1].
        """
        large = torch.cat((boxes[:, :3], boxes[:, 3:6] + boxes.new_tensor(self.margin), boxes[:, 6:7]), dim=1).float()
        found = points_inside(points[:, :3].float(), offsets, large, box_offsets)
        found = self._one_of_each_cell(found, large)
        counts = torch.bincount(found.box, minlength=len(boxes))
        starts = torch.nn.functional.pad(counts.cumsum(0), (1, 0))
        picks = furthest_point_sample_packed(found.local, starts, counts.clamp(max=self.num_points))
        if not len(picks.indices):
            shape = (len(boxes), self.num_points)
            return RoiPoints(counts.new_full(shape, -1), large.new_zeros(*shape, 3), counts)
        kept = picks.offsets.diff()
        slots = torch.arange(self.num_points, device=boxes.device) % kept.clamp(min=1).unsqueeze(1)  # [R, K]
        place = picks.indices[(picks.offsets[:-1].unsqueeze(1) + slots).clamp(max=len(picks.indices) - 1)]
        empty = (kept == 0).unsqueeze(1)
        rows, local = found.row[place].masked_fill(empty, -1), found.local[place].masked_fill(empty.unsqueeze(2), 0)
        return RoiPoints(rows, local, kept)

    def _one_of_each_cell(self, found: Inside, boxes: Tensor) -> Inside:
        """The first point of each cell, of at most ``max_cells`` cells of a box."""
        side = (self.cell * torch.exp(-boxes[:, :3].norm(dim=1) / self.falloff)).clamp(min=self.smallest)
        size = boxes[:, 3:6]
        grid = (size / side.unsqueeze(1)).long().clamp(min=1)  # [R, 3]
        cell = ((found.local + size[found.box] / 2) / side[found.box].unsqueeze(1)).long()
        cell = cell.clamp(min=0).minimum(grid[found.box] - 1)
        width, height = grid[found.box, 1:].unbind(dim=1)
        cells = torch.nn.functional.pad(grid.prod(dim=1).cumsum(0), (1, 0))  # of the boxes before
        key = cells[found.box] + (cell[:, 0] * width + cell[:, 1]) * height + cell[:, 2]
        ordered, order = key.sort(stable=True)
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[1:] = ordered[1:] != ordered[:-1]
        keep = order[first].sort().values
        box = found.box[keep]
        start = torch.searchsorted(box, torch.arange(len(boxes), device=box.device))
        keep = keep[torch.arange(len(box), device=box.device) - start[box] < self.max_cells]
        return Inside(found.box[keep], found.row[keep], found.local[keep])


def points_inside(points: Tensor, offsets: Tensor, boxes: Tensor, box_offsets: Tensor) -> Inside:
    """All points of each box; boxes may overlap.

    Args:
        points: [T, 3].
        offsets: int64 [B + 1].
        boxes: [R, 7].
        box_offsets: int64 [B + 1].
    """
    held = points_in_boxes(points, boxes, points_offsets=offsets, boxes_offsets=box_offsets).index >= 0
    parts, first = [], 0
    for sample, group in enumerate(split_boxes(boxes, box_offsets)):
        begin, end = offsets[sample : sample + 2].tolist()
        rows = begin + held[begin:end].nonzero().squeeze(1)
        for chunk in group.split(BOXES_AT_ONCE):
            local = _local(points[rows], chunk)  # [M, N, 3]
            box, place = (local.abs() <= chunk[:, None, 3:6] / 2).all(dim=2).nonzero().unbind(dim=1)
            parts.append(Inside(first + box, rows[place], local[box, place]))
            first += len(chunk)
    if not parts:
        none = offsets.new_zeros(0)
        return Inside(none, none, points.new_zeros(0, 3))
    return Inside(*(torch.cat(column) for column in zip(*parts)))


def _local(points: Tensor, boxes: Tensor) -> Tensor:
    """Points [N, 3] in the frame of each box [M, 7]: [M, N, 3]."""
    shifted = points - boxes[:, None, :3]
    return torch.cat((rotate_bev(shifted[..., :2], -boxes[:, 6]), shifted[..., 2:]), dim=-1)
