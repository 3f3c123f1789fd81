"""Farthest point sampling in plain torch: one pass over all points per sample."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor


def furthest_point_sample(points: Tensor, num_samples: int, start: Tensor, skip_squared_norm: float) -> Tensor:
    """Indices [B, S] int64 of the picks in ``points`` [B, N, 3]; ``start`` [B] int64."""
    batch = torch.arange(points.shape[0], device=points.device)
    x, y, z = points.unbind(-1)
    near_origin = (x * x + y * y + z * z).double() <= skip_squared_norm
    candidate = points.isfinite().all(-1) & ~near_origin
    distance = torch.where(candidate, torch.inf, -1.0).to(points.dtype)  # [B, N], to the nearest pick
    picks = start.new_empty(points.shape[0], num_samples)
    current = start
    for sample in range(num_samples):
        picks[:, sample] = current
        dx, dy, dz = (points - points[batch, current, None]).unbind(-1)
        to_current = dx * dx + dy * dy + dz * dz
        distance = torch.where(to_current < distance, to_current, distance)
        farthest = distance.argmax(1)  # the first of equals
        current = torch.where(distance[batch, farthest] < 0, start, farthest)
    return picks


def furthest_point_sample_packed(
    points: Tensor,
    offsets: Tensor,
    sample_offsets: Tensor,
    total_samples: int,
    start: Tensor,
    skip_squared_norm: float,
) -> Tensor:
    """Global rows [total_samples] int64 of the picks in the clouds of ``points`` [T, 3]."""
    picks = start.new_full((total_samples,), -1)
    rows = itertools.pairwise(offsets.tolist())
    places = itertools.pairwise(sample_offsets.tolist())
    for cloud, ((begin, end), (first, last)) in enumerate(zip(rows, places)):
        if last == first or end == begin:
            continue
        one = (points[None, begin:end], last - first, start[cloud : cloud + 1], skip_squared_norm)
        picks[first:last] = furthest_point_sample(*one)[0] + begin
    return picks
