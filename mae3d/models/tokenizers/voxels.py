"""Voxel tokens: points of a packed batch to features of the occupied cells.

Sources: DynamicVFE as in SST and Voxel-MAE (arXiv 2207.00531), after Zhou et al., Multi-View Fusion (arXiv 1910.06528);
MeanVFE of SECOND-style detectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.building import build
from mae3d.ops.gather_points import gather_rows
from mae3d.ops.scatter import scatter_reduce
from mae3d.registry import MODELS
from mae3d.structures import VoxelGrid, Voxels

Outside = Literal["drop", "clamp", "truncate"]


class PointPlaces(NamedTuple):
    """Where points lie, each [T, 3]: metres, or normalized to about -1 to 1."""

    coordinates: Tensor
    from_mean: Tensor
    """Offset from the mean of the voxel's points."""
    from_center: Tensor
    """Offset from the voxel's centre."""

    @classmethod
    def of(cls, points: Tensor, index: Tensor, voxels: Voxels, normalized: bool) -> PointPlaces:
        """Places of points [T, 3 or more] in their voxels, int64 [T].

        ``normalized``: coordinates over half the range and offsets over half a voxel. In metres, as published, x and y
        outweigh heights and offsets by one or two orders of magnitude, and short schedules end before the first layer
        has evened that out.
        """
        coordinates = points[:, :3]
        mean = scatter_reduce(coordinates, index, len(voxels), "mean")
        places = cls(coordinates, coordinates - mean[index], coordinates - voxels.centers[index])
        if not normalized:
            return places
        low, high = points.new_tensor(voxels.grid.point_range).split(3)
        half = points.new_tensor(voxels.grid.voxel_size) / 2
        coordinates = (coordinates - (low + high) / 2) / ((high - low) / 2)
        return cls(coordinates, places.from_mean / half, places.from_center / half)


class VoxelFeatureLayer(nn.Module):
    """Linear without bias, BatchNorm and ReLU on every point, then the maximum over each voxel.

    A later layer sees [point feature | maximum of its voxel]. Its weight is applied to the two halves separately, so
    that the half shared by all points of a voxel is computed once a voxel.
    """

    def __init__(self, in_channels: int, out_channels: int, norm_eps: float, norm_momentum: float) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels, eps=norm_eps, momentum=norm_momentum)

    def forward(self, point: Tensor, voxel: Tensor | None, index: Tensor, num_voxels: int) -> tuple[Tensor, Tensor]:
        """Features of points [T, C] and voxels [V, C] (None at first) -> both, [T, C'] and [V, C']."""
        if voxel is None:
            hidden = self.linear(point)
        else:
            of_point, of_voxel = self.linear.weight.split((point.shape[1], voxel.shape[1]), dim=1)
            hidden = F.linear(point, of_point) + gather_rows(F.linear(voxel, of_voxel), index)
        point = F.relu(self.norm(hidden))
        return point, scatter_reduce(point, index, num_voxels, "max")


@MODELS.register_module()
class DynamicVFE(nn.Module):
    """A small PointNet over the points of each voxel, however many there are.

    A point enters with its columns, its offset from the mean of its voxel's points and from the voxel's centre.

    Args:
        in_channels: Columns of the points, x y z first.
        channels: Width of each layer; the last is that of the voxels.
        norm_eps: Epsilon of BatchNorm.
        norm_momentum: Momentum of BatchNorm's running statistics.
        normalized: See :class:`PointPlaces`; published systems take metres.
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
        widths = [in_channels + 6, *(2 * width for width in channels[:-1])]
        self.layers = nn.ModuleList(
            VoxelFeatureLayer(width, out, norm_eps, norm_momentum) for width, out in zip(widths, channels)
        )

    def forward(self, points: Tensor, index: Tensor, voxels: Voxels) -> Tensor:
        """Features of the voxels.

        Args:
            points: [T, in_channels], metres.
            index: int64 [T], voxel of each point.
            voxels: The V cells.

        Returns:
            [V, C]. In training, BatchNorm takes its statistics over all T points.
        """
        check_columns("DynamicVFE", points, self.in_channels)
        features, pooled = self._decorate(points, index, voxels), None
        for layer in self.layers:
            features, pooled = layer(features, pooled, index, len(voxels))
        return pooled

    @torch.no_grad()
    def _decorate(self, points: Tensor, index: Tensor, voxels: Voxels) -> Tensor:
        """[T, in_channels + 6]: columns | offset from the mean | offset from the centre."""
        place = PointPlaces.of(points, index, voxels, self.normalized)
        return torch.cat((place.coordinates, points[:, 3:], place.from_mean, place.from_center), dim=1)


@MODELS.register_module()
class MeanVFE(nn.Module):
    """The mean of the points of each voxel, no parameters.

    Args:
        in_channels: Columns of the points, all averaged.
    """

    def __init__(self, in_channels: int = 4) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.embed_dim = in_channels

    def forward(self, points: Tensor, index: Tensor, voxels: Voxels) -> Tensor:
        """As :meth:`DynamicVFE.forward`; [V, in_channels]."""
        check_columns("MeanVFE", points, self.in_channels)
        return scatter_reduce(points, index, len(voxels), "mean")


def check_columns(name: str, points: Tensor, expected: int) -> None:
    """Raise ConfigError unless points [T, C] have the expected number of columns."""
    if points.shape[1] != expected:
        raise ConfigError(
            f"{name}: built for points of {expected} columns, got {list(points.shape)}; set in_channels to 3 + the "
            "data set's features (+ 1 for the time lag of sweeps)"
        )


@MODELS.register_module()
class VoxelTokenizer(nn.Module):
    """Packed clouds to voxel tokens, without a cap on points or voxels.

    Args:
        point_range: (x_min, y_min, z_min, x_max, y_max, z_max), metres.
        voxel_size: (x, y, z), metres.
        encoder: ``(points, index, voxels) -> features``, a :class:`DynamicVFE`, module or config.
        outside: Points outside the range are left out ("drop") or counted to the nearest border cell ("clamp"; what
            Voxel-MAE's operator does, harmless there because its data pipeline cuts the range before). "truncate" is
            what GD-MAE and T-MAE publish: cell numbers are cut towards zero, so points less than a cell below the range
            count to its first cell; their pipeline cuts x and y before, but pillars then reach one height deeper.
    """

    def __init__(
        self,
        point_range: Sequence[float],
        voxel_size: Sequence[float],
        encoder: nn.Module | dict,
        *,
        outside: Outside = "drop",
    ) -> None:
        super().__init__()
        if outside not in ("drop", "clamp", "truncate"):
            raise ConfigError(f'VoxelTokenizer: outside must be "drop", "clamp" or "truncate", got {outside!r}')
        self.grid = VoxelGrid(tuple(point_range), tuple(voxel_size))
        self.encoder = build(encoder)
        self.embed_dim = self.encoder.embed_dim
        self.outside = outside

    def forward(self, points: Tensor, offsets: Tensor) -> Voxels:
        """Packed points [T, C] with offsets int64 [B + 1] -> voxels with features [V, embed_dim]."""
        with torch.autocast(points.device.type, enabled=False):
            points = points.float()
            policy = "clamp" if self.outside == "clamp" else "drop"
            placed = self._truncated(points) if self.outside == "truncate" else points
            voxels = Voxels.from_points(placed, offsets, self.grid, policy=policy)
        inside = (voxels.point_to_voxel >= 0).nonzero().squeeze(1)
        index = voxels.point_to_voxel[inside]
        return voxels.replace_features(self.encoder(points[inside], index, voxels))

    def _truncated(self, points: Tensor) -> Tensor:
        """Points [T, 3] with coordinates less than a cell below the range moved to its edge."""
        low = points.new_tensor(self.grid.point_range[:3])
        cells = (points[:, :3] - low) / points.new_tensor(self.grid.voxel_size)
        return torch.where((cells > -1) & (cells < 0), low, points[:, :3])
