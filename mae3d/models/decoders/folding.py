"""Points of a patch from its feature: a coarse guess, then small grids folded around each coarse point.

Source: FoldingNet (arXiv 1712.07262) and PCN (arXiv 1808.00671), as Point-BERT's dVAE combines them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.registry import MODELS

SIDE = 2
"""Points along a side of the grid that is folded around each coarse point."""

EXTENT = 0.05
"""Half of the grid's side, in units of the cloud."""


class PatchPoints(NamedTuple):
    """Points of patches, relative to their centres.

    Attributes:
        coarse: [B, G, K / 4, 3].
        fine: [B, G, K, 3], those of one coarse point in a row.
    """

    coarse: Tensor
    fine: Tensor


@MODELS.register_module()
class FoldingDecoder(nn.Module):
    """A patch's feature to K points.

    Args:
        embed_dim: Width C of the features.
        group_size: Points of a patch K, a multiple of 4.
        hidden_dim: Width of the MLP that gives the coarse points.
        fold_dim: Width of the shared MLP that moves the grids' points.

    Raises:
        ConfigError: K is no multiple of 4.
    """

    def __init__(self, embed_dim: int = 256, group_size: int = 32, hidden_dim: int = 1024, fold_dim: int = 512) -> None:
        super().__init__()
        if group_size % SIDE**2:
            raise ConfigError(f"FoldingDecoder: group_size must be a multiple of {SIDE**2}, got {group_size}")
        self.coarse = nn.Sequential(
            nn.Linear(embed_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.ReLU(),
            nn.Linear(hidden_dim, 3 * group_size // SIDE**2),
        )
        self.fold = nn.Sequential(
            nn.Linear(embed_dim + 5, fold_dim),  # [feature | place in the grid 2 | coarse point 3]
            nn.BatchNorm1d(fold_dim),
            nn.ReLU(),
            nn.Linear(fold_dim, fold_dim),
            nn.BatchNorm1d(fold_dim),
            nn.ReLU(),
            nn.Linear(fold_dim, 3),
        )
        ticks = torch.linspace(-EXTENT, EXTENT, SIDE)
        grid = torch.cartesian_prod(ticks, ticks).flip(-1)  # the first coordinate runs fastest
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, features: Tensor) -> PatchPoints:
        """Points of patches with ``features`` [B, G, C]; BatchNorm statistics run over all B * G * K points."""
        batch_size, num_groups, width = features.shape
        rows = features.flatten(0, 1)  # [B G, C]
        coarse = self.coarse(rows).unflatten(-1, (-1, 3))  # [B G, M, 3]
        first, *others = self.fold
        # The first layer sees [feature | grid | coarse]: what is equal for all points of a patch is computed once.
        of_feature, of_grid, of_coarse = first.weight.split((width, 2, 3), dim=1)
        of_patch = F.linear(coarse, of_coarse) + F.linear(rows, of_feature, first.bias).unsqueeze(1)  # [B G, M, D]
        x = of_patch.unsqueeze(2) + F.linear(self.grid.to(of_grid.dtype), of_grid)  # [B G, M, 4, D]
        x = x.flatten(0, 2)
        for layer in others:
            x = layer(x)
        fine = coarse.unsqueeze(2) + x.view(*coarse.shape[:2], SIDE**2, 3)
        return PatchPoints(
            coarse.view(batch_size, num_groups, -1, 3),
            fine.reshape(batch_size, num_groups, -1, 3),
        )
