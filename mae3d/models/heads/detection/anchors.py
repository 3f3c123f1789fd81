"""Anchor boxes of SECOND and its descendants, and which objects they stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mae3d.errors import ConfigError

NEGATIVE = -1
"""Assigned to background."""
IGNORED = -2
"""Neither background nor an object."""


@dataclass(frozen=True)
class Anchor:
    """One size of anchor.

    Attributes:
        size: l, w, h in metres.
        bottom: z of the lower face, metres.
        label: Name of the only class it may stand for; None for any class.
        positive: IoU from which an anchor stands for an object.
        negative: IoU below which it is background.

    Raises:
        ConfigError: Sizes or thresholds that make no sense.
    """

    size: Sequence[float]
    bottom: float
    label: str | None = None
    positive: float = 0.6
    negative: float = 0.45

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) <= 0:
            raise ConfigError(f"Anchor: size must be positive (l, w, h), got {list(self.size)}")
        if not 0 <= self.negative <= self.positive <= 1:
            raise ConfigError(f"Anchor: 0 <= negative <= positive <= 1 is needed, got {self.negative}, {self.positive}")


def place_anchors(
    anchors: Sequence[Anchor], rotations: Sequence[float], area: Sequence[float], height: int, width: int
) -> Tensor:
    """Anchors of a map: float32 [H, W, len(anchors) * len(rotations), 7], gravity centres.

    Args:
        anchors: Sizes; each is given all rotations in turn.
        rotations: Yaws, radians.
        area: (x_min, y_min, x_max, y_max): the first and the last anchor centres. Published detectors place them on
            the border of the range, not in the middle of cells.
        height: Rows of the map, along y.
        width: Columns, along x.
    """
    x_min, y_min, x_max, y_max = area
    y, x = torch.meshgrid(torch.linspace(y_min, y_max, height), torch.linspace(x_min, x_max, width), indexing="ij")
    kinds = torch.tensor([[a.bottom + a.size[2] / 2, *a.size, yaw] for a in anchors for yaw in rotations])  # [A, 5]
    xy = torch.stack((x, y), dim=-1)[:, :, None].expand(-1, -1, len(kinds), -1)
    return torch.cat((xy, kinds.expand(height, width, -1, -1)), dim=-1)


def nearest_bev_iou(anchors: Tensor, boxes: Tensor) -> Tensor:
    """IoU from above [A, M] of boxes [., 7] after turning each to the nearest axis."""
    a, b = _upright(anchors)[:, None], _upright(boxes)[None]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(dim=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(dim=-1) + (b[..., 2:] - b[..., :2]).prod(dim=-1)
    return shared / (areas - shared).clamp(min=1e-6)


def _upright(boxes: Tensor) -> Tensor:
    """[N, 7] -> [N, 4]: x_min, y_min, x_max, y_max."""
    yaw = boxes[:, 6:7]
    turn = (yaw - (yaw / math.pi + 0.5).floor() * math.pi).abs()
    size = torch.where(turn < math.pi / 4, boxes[:, 3:5], boxes[:, [4, 3]])
    return torch.cat((boxes[:, :2] - size / 2, boxes[:, :2] + size / 2), dim=1)


def match_anchors(iou: Tensor, positive: float, negative: float, forced: float = 0.0) -> Tensor:
    """Object of each anchor, int64 [A]: a column of ``iou``, :data:`NEGATIVE` or :data:`IGNORED`.

    An anchor stands for its best object from ``positive`` on. So that no object is left out, the anchors that overlap
    it most stand for their own best object whatever the overlap, if it is above 0 and at least ``forced``.

    Args:
        iou: [A, M].
        positive: IoU from which an anchor is positive.
        negative: IoU below which an anchor is background.
        forced: See above.
    """
    if iou.shape[1] == 0:
        return iou.new_full((len(iou),), NEGATIVE, dtype=torch.int64)
    best, column = iou.max(dim=1)
    result = torch.full_like(column, IGNORED).masked_fill_(best < negative, NEGATIVE)
    highest = iou.amax(dim=0)  # [M]
    highest = torch.where((highest > 0) & (highest >= forced), highest, torch.inf)
    chosen = (best >= positive) | (iou == highest).any(dim=1)
    return torch.where(chosen, column, result)
