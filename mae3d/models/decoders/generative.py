"""Decoder of GD-MAE and T-MAE: convolutions spread what the visible pillars know over the hidden ones."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mae3d.models.backbones.dense_fusion import DenseFusion
from mae3d.registry import MODELS
from mae3d.structures import Voxels
from mae3d.structures.sparse_tensor import SparseTensor


@MODELS.register_module()
class GenerativeDecoder(nn.Module):
    """The dense map of all scales, read at every pillar. Hidden pillars enter as empty cells; there is no mask token.

    Args:
        in_channels: Of each scale, finest first.
        embed_dim: Width C of the map.
    """

    def __init__(self, in_channels: Sequence[int] = (128, 256, 256), embed_dim: int = 128) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.fusion = DenseFusion(in_channels, embed_dim)

    def forward(self, levels: Sequence[SparseTensor], voxels: Voxels) -> Tensor:
        """Scales of the visible pillars -> features [V, C] of all pillars ``voxels``."""
        cloud, _, row, column = voxels.coordinates.unbind(dim=1)
        return self.fusion(levels)[cloud, :, row, column]
