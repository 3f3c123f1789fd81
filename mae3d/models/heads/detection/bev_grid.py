"""Where the cells of a head's map lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class BEVGrid(NamedTuple):
    """A map [H, W] seen from above, rows along y, columns along x."""

    low: tuple[float, float]
    """Corner of cell (0, 0): x, y in metres."""
    cell: tuple[float, float]
    """Size of a cell along x, y in metres."""
    height: int
    width: int

    @classmethod
    def of(cls, point_range: Sequence[float], height: int, width: int) -> BEVGrid:
        """The map of ``height`` x ``width`` cells over (x_min, y_min, z_min, x_max, y_max, z_max)."""
        x_min, y_min, _, x_max, y_max, _ = point_range
        return cls((x_min, y_min), ((x_max - x_min) / width, (y_max - y_min) / height), height, width)

    def to_cells(self, xy: Tensor) -> Tensor:
        """Positions [..., 2] in metres -> cells (x, y), 0 at the corner of the first."""
        return (xy - xy.new_tensor(self.low)) / xy.new_tensor(self.cell)

    def to_metres(self, cells: Tensor) -> Tensor:
        """Inverse of :meth:`to_cells`."""
        return cells * cells.new_tensor(self.cell) + cells.new_tensor(self.low)

    def contains(self, xy: Tensor) -> Tensor:
        """Bool [...]: inside the map."""
        cells = self.to_cells(xy)
        return ((cells >= 0) & (cells < cells.new_tensor((self.width, self.height)))).all(dim=-1)


def split_boxes(boxes: Tensor, offsets: Tensor) -> list[Tensor]:
    """Packed rows [K, ...] -> one tensor per sample."""
    return list(torch.split(boxes, offsets.diff().tolist()))
