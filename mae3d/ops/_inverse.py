"""Inverse of an index tensor: which entries refer to each row. The ground of deterministic backward passes on GPUs."""

from __future__ import annotations

import torch
from torch import Tensor


def global_rows(indices: Tensor, rows_per_cloud: int | None) -> Tensor:
    """Indices [B, ..., K] into clouds of ``rows_per_cloud`` rows -> rows of the flattened batch; -1 stays -1.

    With ``rows_per_cloud`` None the indices are rows already (packed clouds).
    """
    if rows_per_cloud is None:
        return indices
    shift = torch.arange(indices.shape[0], device=indices.device) * rows_per_cloud
    shift = shift.view(-1, *[1] * (indices.dim() - 1))
    return torch.where(indices >= 0, indices + shift, indices)


def inverse_lists(rows: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Entries that refer to each of ``count`` rows: (order [M], starts [count + 1]), both int64.

    ``order[starts[r]:starts[r + 1]]`` are the positions, ascending, at which the flattened ``rows`` equals r.
    Negative entries refer to nothing. No value is read back to the host.
    """
    ordered, order = rows.flatten().sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(count + 1, device=rows.device))
    return order, starts
