"""Pillar encoder of GD-MAE and T-MAE: a small network on every point, then the maximum over each pillar."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae3d.models.layers.sparse_sequential import SparseBatchNorm
from mae3d.models.tokenizers.voxels import PointPlaces, check_columns
from mae3d.ops.scatter import scatter_reduce
from mae3d.registry import MODELS
from mae3d.structures import Voxels


@MODELS.register_module()
class PillarMlp(nn.Module):
    """Linear, BatchNorm and ReLU for each width on every point, then the maximum over its voxel.

    A point enters with its offset from the voxel's centre, its columns, and its offset from the mean of its voxel's
    points, in this order. Published as ``DynVFE`` with one entry in ``MLPS``.

    Args:
        in_channels: Columns of the points, x y z first.
        channels: Width of each layer; the last is that of the voxels.
        norm_eps: Epsilon of BatchNorm: 1e-3 in GD-MAE, 1e-5 in T-MAE.
        norm_momentum: Of the running statistics: 0.01 in GD-MAE, 0.1 in T-MAE.
        normalized: See :class:`mae3d.models.tokenizers.voxels.PointPlaces`; published systems take metres.
    """

    def __init__(
        self,
        in_channels: int = 4,
        channels: Sequence[int] = (64, 128),
        *,
        norm_eps: float = 1e-3,
        norm_momentum: float = 0.01,
        normalized: bool = False,
    ) -> None:
        super().__init__()
        self.normalized = normalized
        self.in_channels = in_channels
        self.embed_dim = channels[-1]
        layers: list[nn.Module] = []
        for width, out in zip((in_channels + 6, *channels[:-1]), channels):
            norm = SparseBatchNorm(out, eps=norm_eps, momentum=norm_momentum)
            layers += [nn.Linear(width, out, bias=False), norm, nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, points: Tensor, index: Tensor, voxels: Voxels) -> Tensor:
        """Features of the voxels.

        Args:
            points: [T, in_channels], metres.
            index: int64 [T], voxel of each point.
            voxels: The V cells.

        Returns:
            [V, C]. In training, BatchNorm takes its statistics over all T points.
        """
        check_columns("PillarMlp", points, self.in_channels)
        return scatter_reduce(self.layers(self._decorate(points, index, voxels)), index, len(voxels), "max")

    @torch.no_grad()
    def _decorate(self, points: Tensor, index: Tensor, voxels: Voxels) -> Tensor:
        """[T, in_channels + 6]: offset from the centre | columns | offset from the mean."""
        place = PointPlaces.of(points, index, voxels, self.normalized)
        return torch.cat((place.from_center, place.coordinates, points[:, 3:], place.from_mean), dim=1)
