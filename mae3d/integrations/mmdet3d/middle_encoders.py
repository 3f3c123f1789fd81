"""Our encoders in the place of mmdet3d's middle encoders: voxel features in, bird's-eye map out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet3d.registry import MODELS
from torch import Tensor, nn

from mae3d.integrations.mmdet3d.axes import turn_map_back
from mae3d.integrations.mmdet3d.pretrained_part import PretrainedPart
from mae3d.integrations.mmdet3d.voxels import cells_of
from mae3d.models.backbones.bev import bev_map
from mae3d.models.backbones.sparse_voxel import VoxelBackBone8x, VoxelResBackBone8x
from mae3d.models.backbones.sst import SSTBackbone
from mae3d.structures import VoxelGrid


class _MiddleEncoder(PretrainedPart):
    def __init__(
        self,
        encoder: nn.Module,
        point_range: Sequence[float],
        voxel_size: Sequence[float],
        turned: bool,
        pretrained: str | None,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(encoder, pretrained, init_cfg)
        self.grid = VoxelGrid(tuple(point_range), tuple(voxel_size))
        self.turned = turned

    def forward(self, voxel_features: Tensor, coors: Tensor, batch_size: int | Tensor) -> Tensor:
        """Features [V, C] of cells [V, 4] (cloud, z, y, x) -> map [B, C', H, W] in mmdet3d's axes.

        The number of clouds is that of the last voxel, as ``batch_size`` is too.
        """
        voxels = cells_of(coors, self.grid, self.turned).replace_features(voxel_features)
        bev = bev_map(self.encoder(voxels))
        return turn_map_back(bev) if self.turned else bev


@MODELS.register_module()
class Mae3dSparseEncoder(_MiddleEncoder):
    """The sparse encoders of OpenPCDet and R-MAE: stride 8, height folded into the channels (256 for 40 cells).

    Stands where a config has ``SparseEncoder``; runs on a CPU too, forward and backward.

    Args:
        point_range: As in the preprocessor, mmdet3d's axes.
        voxel_size: As in the preprocessor.
        in_channels: Features of a voxel.
        residual: VoxelResBackBone8x (CenterPoint) instead of VoxelBackBone8x (SECOND).
        residual_bias: Of its residual blocks; R-MAE pre-trains without.
        turned: See :class:`Mae3dVoxelEncoder`.
        pretrained: See :class:`PretrainedPart`.
        init_cfg: Of mmengine.
    """

    def __init__(
        self,
        point_range: Sequence[float],
        voxel_size: Sequence[float],
        in_channels: int = 4,
        *,
        residual: bool = False,
        residual_bias: bool = True,
        turned: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        encoder = VoxelResBackBone8x(in_channels, residual_bias) if residual else VoxelBackBone8x(in_channels)
        super().__init__(encoder, point_range, voxel_size, turned, pretrained, init_cfg)
        self.out_channels = encoder.bev_channels(self.grid.grid_size[2])


@MODELS.register_module()
class Mae3dSST(_MiddleEncoder):
    """SST on pillars: the map has the resolution of the voxels.

    Stands where a config has ``PointPillarsScatter``.

    Args:
        point_range: As in the preprocessor, mmdet3d's axes.
        voxel_size: As in the preprocessor.
        embed_dim: Width.
        depth: Pairs of layers.
        num_heads: Attention heads.
        turned: See :class:`Mae3dVoxelEncoder`.
        pretrained: See :class:`PretrainedPart`.
        init_cfg: Of mmengine.
        **options: Further arguments of :class:`SSTBackbone`: window, temperature, max_window_tokens, ...
    """

    def __init__(
        self,
        point_range: Sequence[float],
        voxel_size: Sequence[float],
        embed_dim: int = 128,
        depth: int = 8,
        num_heads: int = 8,
        *,
        turned: bool = False,
        pretrained: str | None = None,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        encoder = SSTBackbone(embed_dim, depth, num_heads, **options)
        super().__init__(encoder, point_range, voxel_size, turned, pretrained, init_cfg)
        self.out_channels = embed_dim * self.grid.grid_size[2]
