"""Reference of ``ball_query``: all distances, one stable sort by index or by distance."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.ops.reference.knn import cloud_pairs, pad_columns, squared_distances


def ball_query(
    points: Tensor,
    queries: Tensor,
    points_offsets: Tensor | None,
    queries_offsets: Tensor | None,
    radius: float,
    k: int,
    nearest: bool,
    repeat_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared distances and indices of at most k points within the radius, and their counts, as in ``ball_query.h``."""
    limit = torch.tensor(radius, dtype=points.dtype, device=points.device).square()
    rows = [torch.empty(0, k, dtype=torch.int64, device=queries.device)]
    distances = [queries.new_empty(0, k)]
    for cloud, asked, first in cloud_pairs(points, queries, points_offsets, queries_offsets):
        d = squared_distances(asked, cloud)
        inside = d < limit
        key = torch.where(inside, d if nearest else 0.0, torch.inf)
        order = key.sort(dim=1, stable=True).indices
        inside = inside.gather(1, order)
        rows.append(pad_columns(torch.where(inside, order + first, -1), k, -1))
        distances.append(pad_columns(torch.where(inside, d.gather(1, order), torch.inf), k, torch.inf))
    indices, squared = torch.cat(rows), torch.cat(distances)
    counts = (indices >= 0).sum(1)
    if repeat_first:
        squared = torch.where(indices >= 0, squared, squared[:, :1])
        indices = torch.where(indices >= 0, indices, indices[:, :1])
    shape = queries.shape[:-1]
    return squared.reshape(*shape, k), indices.reshape(*shape, k), counts.reshape(shape)
