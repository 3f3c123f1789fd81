"""Chamfer distance in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

_MATRIX_ELEMENTS = 1 << 24  # distances held at a time


def _nearest(a: Tensor, b: Tensor, a_mask: Tensor | None, b_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Squared distances and indices of the nearest b [S, M, 3] of every a [S, N, 3]."""
    x, y, z = (a[:, :, None] - b[:, None]).square().unbind(-1)  # each [S, N, M]
    matrix = (x + y) + z
    matrix = matrix.masked_fill(matrix.isnan(), torch.inf)
    if b_mask is not None:
        matrix = matrix.masked_fill(~b_mask[:, None], torch.inf)
    matrix = torch.nn.functional.pad(matrix, (0, 1), value=torch.inf)  # an empty b has a minimum too
    index = matrix.argmin(-1)  # the first of equal values
    distance = matrix.gather(-1, index[..., None])[..., 0]
    index = index.masked_fill(distance.isinf(), -1)
    distance = distance.masked_fill(a.isnan().any(-1), torch.nan)
    if a_mask is not None:
        distance, index = distance.masked_fill(~a_mask, 0), index.masked_fill(~a_mask, -1)
    return distance, index


def _dense(a: Tensor, b: Tensor, a_mask: Tensor | None, b_mask: Tensor | None) -> tuple[Tensor, ...]:
    step = max(1, _MATRIX_ELEMENTS // max(1, a.shape[1] * b.shape[1]))
    parts = []
    for begin in range(0, max(1, len(a)), step):
        some = slice(begin, begin + step)
        masks = [None if mask is None else mask[some] for mask in (a_mask, b_mask)]
        forth, back = _nearest(a[some], b[some], *masks), _nearest(b[some], a[some], *masks[::-1])
        parts.append((forth[0], back[0], forth[1], back[1]))
    return tuple(torch.cat(part) for part in zip(*parts))


def chamfer_distance(
    a: Tensor,
    b: Tensor,
    a_mask: Tensor | None = None,
    b_mask: Tensor | None = None,
    a_offsets: Tensor | None = None,
    b_offsets: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reference of ``mae3d::chamfer_distance`` (csrc/chamfer/chamfer.h)."""
    if a_offsets is None or b_offsets is None:
        return _dense(a, b, a_mask, b_mask)
    results = (a.new_zeros(len(a)), b.new_zeros(len(b)), a_offsets.new_zeros(len(a)), b_offsets.new_zeros(len(b)))
    limits_a, limits_b = a_offsets.tolist(), b_offsets.tolist()
    for a0, a1, b0, b1 in zip(limits_a, limits_a[1:], limits_b, limits_b[1:]):
        mask_a, mask_b = (None if m is None else m[i:j][None] for m, i, j in ((a_mask, a0, a1), (b_mask, b0, b1)))
        d_ab, d_ba, i_ab, i_ba = (part[0] for part in _dense(a[a0:a1][None], b[b0:b1][None], mask_a, mask_b))
        results[0][a0:a1], results[2][a0:a1] = d_ab, torch.where(i_ab >= 0, i_ab + b0, -1)
        results[1][b0:b1], results[3][b0:b1] = d_ba, torch.where(i_ba >= 0, i_ba + a0, -1)
    return results


def chamfer_distance_backward(
    grad_a_to_b: Tensor,
    grad_b_to_a: Tensor,
    a: Tensor,
    b: Tensor,
    a_to_b_index: Tensor,
    b_to_a_index: Tensor,
    a_offsets: Tensor | None = None,
    b_offsets: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Reference of ``mae3d::chamfer_distance_backward``."""
    flat_a, flat_b = a.reshape(-1, 3), b.reshape(-1, 3)
    grad_a, grad_b = torch.zeros_like(flat_a), torch.zeros_like(flat_b)
    pairs = []
    for index, own, other in ((a_to_b_index, a, b), (b_to_a_index, b, a)):
        if a_offsets is None:
            first = torch.arange(len(own), device=own.device)[:, None] * other.shape[1]
            index = torch.where(index >= 0, index + first, -1)
        rows = (index.reshape(-1) >= 0).nonzero()[:, 0]
        pairs.append((rows, index.reshape(-1)[rows]))
    (i, j), (n, m) = pairs[0], pairs[1][::-1]
    step_ab = 2 * grad_a_to_b.reshape(-1)[i, None] * (flat_a[i] - flat_b[j])
    step_ba = 2 * grad_b_to_a.reshape(-1)[m, None] * (flat_b[m] - flat_a[n])
    grad_a.index_add_(0, i, step_ab).index_add_(0, n, -step_ba)
    grad_b.index_add_(0, m, step_ba).index_add_(0, j, -step_ab)
    return grad_a.view_as(a), grad_b.view_as(b)
