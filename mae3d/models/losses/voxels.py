"""Losses of Voxel-MAE: points, number of points, empty or not. Each is a scalar and 0 for an empty set."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mae3d import ops


class TwoWays(NamedTuple):
    """The two halves of a Chamfer loss, scalars."""

    to_target: Tensor
    to_prediction: Tensor


def voxel_chamfer_loss(prediction: Tensor, target: Tensor, offsets: Tensor) -> TwoWays:
    """Squared Chamfer distance per voxel between predicted points and the voxel's own points.

    Args:
        prediction: [M, K, 3].
        target: [P, 3], packed.
        offsets: int64 [M + 1], rows of each voxel's points.

    Returns:
        ``to_target``: mean over all M * K predictions of the distance to the nearest point of their voxel.
        ``to_prediction``: mean over the voxels of the mean over their points of the distance to the nearest
        prediction. Voxels without points count in neither.
    """
    with torch.autocast(prediction.device.type, enabled=False):
        prediction, target = prediction.float(), target.float()
        voxels, size, _ = prediction.shape
        counts = offsets.diff()
        filled = counts > 0
        rows = torch.arange(voxels + 1, device=prediction.device) * size
        distance = ops.chamfer_distance(prediction.flatten(0, 1), target, a_offsets=rows, b_offsets=offsets)
        total = filled.sum().clamp(min=1)
        forward = distance.a_to_b.unflatten(0, (-1, size)) if voxels else distance.a_to_b.new_zeros(0, size)
        forward = torch.where(filled.unsqueeze(1), forward, 0.0).sum() / (total * size)
        weight = torch.repeat_interleave(1.0 / counts.clamp(min=1), counts, output_size=len(target))
        return TwoWays(forward, (distance.b_to_a * weight).sum() / total)


def point_count_loss(prediction: Tensor, counts: Tensor) -> Tensor:
    """Smooth L1 (beta 1) between raw outputs [M] and true numbers of points [M], mean."""
    loss = F.smooth_l1_loss(prediction.float(), counts.float(), reduction="sum")
    return loss / max(1, len(prediction))


def empty_cell_loss(logits: Tensor, empty: Tensor) -> Tensor:
    """Binary cross-entropy with logits [L], mean; the positive class is EMPTY: ``empty`` [L] is 1 where no point is."""
    loss = F.binary_cross_entropy_with_logits(logits.float(), empty.float(), reduction="sum")
    return loss / max(1, len(logits))
