"""Losses on the voxels inside hidden patches and on the occupancy of their cells (P3P)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mae3d.ops.chamfer import chamfer_distance
from mae3d.ops.scatter import scatter_reduce


def patch_voxel_loss(prediction: Tensor, target: Tensor, cloud: Tensor, clouds: int, *, published: bool) -> Tensor:
    """Chamfer distance of the coordinates and squared error of the other channels, per cloud.

    Args:
        prediction: [V, C], columns 0 to 2 are x y z.
        target: [V, C].
        cloud: int64 [V], ascending: the cloud of each voxel. The Chamfer distance of a cloud runs over all of its
            voxels, squared, the means of both directions added.
        clouds: B.
        published: False: mean over clouds that have voxels of (Chamfer + mean squared error of the C - 3 other
            channels). True: the official expression, B (C - 3) Chamfer + sum of the mean squared errors, over V.
    """
    prediction, target = prediction.float(), target.float()
    if len(prediction) == 0:
        return prediction.sum()
    offsets = torch.searchsorted(cloud, torch.arange(clouds + 1, device=cloud.device))
    a, b = prediction[:, :3].contiguous(), target[:, :3].contiguous()
    distance = chamfer_distance(a, b, a_offsets=offsets, b_offsets=offsets)
    both = torch.stack((distance.a_to_b, distance.b_to_a), dim=1)
    chamfer = scatter_reduce(both, cloud, clouds, "mean").sum(dim=1)  # [B], 0 where a cloud has no voxel
    squared = scatter_reduce((prediction[:, 3:] - target[:, 3:]).square(), cloud, clouds, "mean")  # [B, C - 3]
    if published:
        channels = squared.shape[1]
        return (clouds * channels * chamfer.mean() + squared.sum()) / len(prediction)
    present = (offsets.diff() > 0).sum()
    return (chamfer.sum() + squared.mean(dim=1).sum()) / present


def cell_occupancy_loss(logits: Tensor, token: Tensor, cell: Tensor) -> Tensor:
    """Cross entropy of two classes over all cells of all tokens.

    Args:
        logits: [P, K]: logit of "occupied" less that of "empty" for every cell of every token.
        token: int64 [V], the token of each occupied cell; all others are empty.
        cell: int64 [V], its number inside the token.
    """
    logits = logits.float()
    if logits.numel() == 0:
        return logits.sum()
    # softplus(z) - z for occupied cells, softplus(z) for empty ones
    return (F.softplus(logits).sum() - logits[token, cell].sum()) / logits.numel()
