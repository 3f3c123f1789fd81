"""Reference of ``knn``: all distances, one stable sort."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

_MAX_PAIRS = 1 << 22  # distances held at once


def global_rows(indices: Tensor, rows_per_cloud: int | None) -> Tensor:
    """Indices [B, ..., K] into clouds of ``rows_per_cloud`` rows -> rows of the flattened batch; -1 stays -1.

    With ``rows_per_cloud`` None the indices are rows already (packed clouds).
    """
    if rows_per_cloud is None:
        return indices
    shift = torch.arange(indices.shape[0], device=indices.device) * rows_per_cloud
    return torch.where(indices >= 0, indices + shift.view(-1, *[1] * (indices.dim() - 1)), indices)


def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """[Q, 3], [N, 3] -> [Q, N], rounded as the kernels do: (dx*dx + dy*dy) + dz*dz."""
    x, y, z = (queries[:, None] - points[None]).unbind(-1)
    return (x * x + y * y) + z * z


def cloud_pairs(
    points: Tensor, queries: Tensor, points_offsets: Tensor | None, queries_offsets: Tensor | None
) -> Iterator[tuple[Tensor, Tensor, int]]:
    """(points [N, 3], some queries [q, 3], first row of the points in index results) of each cloud in turn."""
    if points_offsets is None:
        clouds = [(p, q, 0) for p, q in zip(points, queries)]
    else:
        p, q = points_offsets.tolist(), queries_offsets.tolist()
        clouds = [(points[p[b] : p[b + 1]], queries[q[b] : q[b + 1]], p[b]) for b in range(len(p) - 1)]
    for cloud, asked, first in clouds:
        for chunk in asked.split(max(1, _MAX_PAIRS // max(1, len(cloud)))):
            yield cloud, chunk, first


def pad_columns(values: Tensor, k: int, fill: float) -> Tensor:
    """[Q, n] -> [Q, k]: cut or filled at the right."""
    return torch.nn.functional.pad(values[:, :k], (0, max(0, k - values.shape[1])), value=fill)


def knn(
    points: Tensor, queries: Tensor, points_offsets: Tensor | None, queries_offsets: Tensor | None, k: int
) -> tuple[Tensor, Tensor]:
    """Squared distances and indices of the k nearest points, as in ``csrc/knn/knn.h``."""
    distances, indices = [queries.new_empty(0, k)], [torch.empty(0, k, dtype=torch.int64, device=queries.device)]
    for cloud, asked, first in cloud_pairs(points, queries, points_offsets, queries_offsets):
        d = squared_distances(asked, cloud)
        d, order = torch.where(d.isfinite(), d, torch.inf).sort(dim=1, stable=True)
        distances.append(pad_columns(d, k, torch.inf))
        indices.append(pad_columns(torch.where(d.isfinite(), order + first, -1), k, -1))
    shape = (*queries.shape[:-1], k)
    return torch.cat(distances).reshape(shape), torch.cat(indices).reshape(shape)


def knn_backward(grad: Tensor, points: Tensor, queries: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the squared distances in points and queries."""
    rows = global_rows(indices, points.shape[1] if points.dim() == 3 else None).reshape(-1, indices.shape[-1])
    valid = rows >= 0
    flat_points, flat_queries = points.reshape(-1, 3), queries.reshape(-1, 3)
    if len(flat_points) == 0:
        return torch.zeros_like(points), torch.zeros_like(queries)
    difference = flat_queries[:, None] - flat_points[rows.clamp(min=0)]
    pull = torch.where(valid, 2 * grad.reshape(rows.shape), 0.0)[..., None] * difference  # [R, k, 3]
    pull = torch.where(valid[..., None], pull, 0.0)
    grad_points = torch.zeros_like(flat_points).index_add_(0, rows[valid], -pull[valid])
    return grad_points.reshape(points.shape), pull.sum(1).reshape(queries.shape)
