"""Heat-map targets of CenterPoint (Yin et al. 2021, sec. 4): a Gaussian at the centre of every object."""

from __future__ import annotations

import torch
from torch import Tensor


def gaussian_radius(length: Tensor, width: Tensor, overlap: float) -> Tensor:
    """Radius [K] within which a shifted corner still leaves ``overlap`` IoU, after CornerNet.

    The three roots are divided by 2 instead of 2 a, as in all published detectors of this kind: targets and so weights
    depend on it.

    Args:
        length: [K] size along one axis in cells.
        width: [K] size along the other.
        overlap: IoU in (0, 1).
    """
    total, area = length + width, length * width
    quadratics = (
        (1.0, total, area * (1 - overlap) / (1 + overlap)),
        (4.0, 2 * total, (1 - overlap) * area),
        (4 * overlap, -2 * overlap * total, (overlap - 1) * area),
    )
    roots = [(b + (b * b - 4 * a * c).clamp(min=0).sqrt()) / 2 for a, b, c in quadratics]
    return torch.stack(roots).amin(dim=0)


def draw_gaussians(
    shape: tuple[int, int, int, int], sample: Tensor, label: Tensor, column: Tensor, row: Tensor, radius: Tensor
) -> Tensor:
    """Heat map in which every object leaves a peak of 1 and the larger of overlapping values wins.

    Args:
        shape: (B, classes, H, W).
        sample: int64 [K].
        label: int64 [K], class.
        column: int64 [K], x of the centre's cell.
        row: int64 [K], y of it.
        radius: int64 [K]; the standard deviation is (2 radius + 1) / 6, nothing is drawn beyond the radius.

    Returns:
        float32 [B, classes, H, W].
    """
    batch, classes, height, width = shape
    heat = torch.zeros(batch * classes * height * width, device=sample.device)
    if len(sample) == 0:
        return heat.view(shape)
    reach = int(radius.max())
    offsets = torch.arange(-reach, reach + 1, device=sample.device)
    dy, dx = torch.meshgrid(offsets, offsets, indexing="ij")  # [D, D]
    deviation = (2 * radius[:, None, None] + 1) / 6
    value = torch.exp(-(dx * dx + dy * dy) / (2 * deviation**2))  # [K, D, D]
    y, x = row[:, None, None] + dy, column[:, None, None] + dx
    inside = (dx.abs().maximum(dy.abs()) <= radius[:, None, None]) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
    plane = (sample * classes + label)[:, None, None]
    cell = (plane * height + y) * width + x
    return heat.scatter_reduce_(0, cell[inside], value[inside], "amax").view(shape)
