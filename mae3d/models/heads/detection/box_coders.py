"""Between boxes in metres and the numbers that a head regresses."""

from __future__ import annotations

import torch
from torch import Tensor


def encode_residual(boxes: Tensor, anchors: Tensor) -> Tensor:
    """SECOND's code of boxes relative to anchors.

    Args:
        boxes: [..., 7 or 9], gravity centres.
        anchors: [..., 7 or 9], the same size.

    Returns:
        [..., 7 or 9]: centre shift over the anchor's diagonal (x, y) and height (z), logarithms of size ratios (l, w,
        h), difference of yaw, difference of velocity.
    """
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    return torch.cat(
        (
            (boxes[..., :2] - anchors[..., :2]) / diagonal,
            (boxes[..., 2:3] - anchors[..., 2:3]) / anchors[..., 5:6],
            (boxes[..., 3:6] / anchors[..., 3:6]).log(),
            boxes[..., 6:] - anchors[..., 6:],
        ),
        dim=-1,
    )


def decode_residual(codes: Tensor, anchors: Tensor) -> Tensor:
    """Inverse of :func:`encode_residual`."""
    diagonal = anchors[..., 3:5].norm(dim=-1, keepdim=True)
    return torch.cat(
        (
            codes[..., :2] * diagonal + anchors[..., :2],
            codes[..., 2:3] * anchors[..., 5:6] + anchors[..., 2:3],
            codes[..., 3:6].exp() * anchors[..., 3:6],
            codes[..., 6:] + anchors[..., 6:],
        ),
        dim=-1,
    )


def encode_center(boxes: Tensor, cells: Tensor) -> Tensor:
    """CenterPoint's code.

    Args:
        boxes: [K, 7 or 9].
        cells: [K, 2] centres in cells of the map (x, y), not rounded.

    Returns:
        [K, 8 or 10]: place within the cell (x, y) in [0, 1), z in metres, logarithms of l, w, h, cosine and sine of
        yaw, velocity.
    """
    yaw = boxes[:, 6:7]
    parts = (cells - cells.floor(), boxes[:, 2:3], boxes[:, 3:6].log(), yaw.cos(), yaw.sin(), boxes[:, 7:])
    return torch.cat(parts, dim=1)


def decode_center(codes: Tensor, cells: Tensor) -> Tensor:
    """Inverse of :func:`encode_center`, with the centres still in cells.

    Args:
        codes: [..., 8 or 10].
        cells: [..., 2] whole cells (x, y).

    Returns:
        [..., 7 or 9]: x and y in cells, then z, l, w, h, yaw, velocity.
    """
    yaw = torch.atan2(codes[..., 7:8], codes[..., 6:7])
    return torch.cat((cells + codes[..., :2], codes[..., 2:3], codes[..., 3:6].exp(), yaw, codes[..., 8:]), dim=-1)
