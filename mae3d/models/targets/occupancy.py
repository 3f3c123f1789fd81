"""Which cells of the grid are occupied, as the thing to predict (Occupancy-MAE, arXiv 2206.09900)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def dense_occupancy(coordinates: Tensor, shape: Sequence[int], batch_size: int) -> Tensor:
    """Indicator of occupied cells, float32 [B, 1, Z, Y, X].

    Args:
        coordinates: int64 [V, 4] (cloud, z, y, x), inside the grid; all voxels, visible and masked.
        shape: (Z, Y, X).
        batch_size: B.
    """
    target = torch.zeros(batch_size, 1, *shape, device=coordinates.device)
    cloud, z, y, x = coordinates.unbind(dim=1)
    target[cloud, 0, z, y, x] = 1.0
    return target
