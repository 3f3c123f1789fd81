"""Approximate and exact matching of point sets in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

_LARGEST_COORDINATE = 1e18


def _in_range(a: Tensor, b: Tensor) -> Tensor:
    """Which pairs [B] have only coordinates that are finite and not beyond 1e18."""
    return torch.cat((a, b), dim=1).abs().le(_LARGEST_COORDINATE).all(-1).all(-1)


def approximate_match(a: Tensor, b: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Reference of ``mae3d::approximate_match`` (csrc/earth_mover_distance/earth_mover_distance.h)."""
    good, most = _in_range(a, b), max(a.shape[1], b.shape[1])
    a, b = (x.where(good[:, None, None], 0) for x in (a, b))
    step = a[:, :, None] - b[:, None]  # [B, N, M, 3]
    squared = step.square().sum(-1)
    left_a = a.new_full(a.shape[:2], most / max(1, a.shape[1]))[:, :, None]
    left_b = b.new_full(b.shape[:2], most / max(1, b.shape[1]))[:, None]
    match = torch.zeros_like(squared)
    for level in (*(-(4.0**j) for j in range(7, -2, -1)), 0.0):
        kernel = (level * squared).exp()
        ratio_a = left_a / (1e-9 + (kernel * left_b).sum(2, keepdim=True))
        asked = left_b * (kernel * ratio_a).sum(1, keepdim=True)
        ratio_b = left_b * (left_b / (asked + 1e-9)).clamp(max=1)
        moved = kernel * ratio_a * ratio_b
        left_b = (left_b - asked).clamp(min=0)
        left_a = (left_a - moved.sum(2, keepdim=True)).clamp(min=0)
        match = match + moved
    distance = squared.sqrt()
    cost = (match * distance).sum((1, 2)) / max(1, most)
    cost = cost.masked_fill(~good, torch.nan)
    if not with_gradient:
        return cost, a.new_empty(0), a.new_empty(0)
    pull = torch.where(distance > 0, match / distance, 0)[..., None] * step / max(1, most)
    return cost, pull.sum(2), -pull.sum(1)


def _assign(cost: Tensor) -> list[int]:
    """Columns of the rows of a square cost matrix [N, N]: one shortest augmenting path per row."""
    size = len(cost)
    row_price, price = cost.new_zeros(size), cost.new_zeros(size)
    row_of = [-1] * size
    for row in range(size):
        reach = cost.new_full((size,), torch.inf)
        before, settled, current, column = [-1] * size, torch.zeros(size, dtype=torch.bool), row, -1
        length = 0.0
        while True:
            candidate = length + cost[current] - row_price[current] - price
            better = (candidate < reach) & ~settled
            reach = torch.where(better, candidate, reach)
            for j in better.nonzero()[:, 0].tolist():
                before[j] = column
            column = int(reach.masked_fill(settled, torch.inf).argmin())
            length = float(reach[column])
            if row_of[column] < 0:
                break
            settled[column] = True
            current = row_of[column]
        row_price[row] += length
        for j in settled.nonzero()[:, 0].tolist():
            row_price[row_of[j]] += length - reach[j]
            price[j] -= length - reach[j]
        while column >= 0:
            previous = before[column]
            row_of[column] = row_of[previous] if previous >= 0 else row
            column = previous
    result = [0] * size
    for j, i in enumerate(row_of):
        result[i] = j
    return result


def optimal_assignment(a: Tensor, b: Tensor) -> Tensor:
    """Reference of ``mae3d::optimal_assignment``."""
    index = torch.full(a.shape[:2], -1, dtype=torch.int64, device=a.device)
    for pair in _in_range(a, b).nonzero()[:, 0].tolist():
        cost = (a[pair, :, None] - b[pair, None]).square().sum(-1).sqrt().cpu()
        index[pair] = torch.tensor(_assign(cost), dtype=torch.int64, device=a.device)
    return index
