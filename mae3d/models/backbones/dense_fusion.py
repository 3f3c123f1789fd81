"""From a sparse pyramid to one dense bird's-eye map."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones.bev import SECONDFPN
from mae3d.registry import MODELS
from mae3d.structures.sparse_tensor import SparseTensor


@MODELS.register_module()
class DenseFusion(SECONDFPN):
    """Every scale made dense, brought to the finest resolution, joined and mixed by one 3x3 convolution.

    In pre-training this is where masked pillars get their features from: the "generative decoder" of GD-MAE has no mask
    token. In detectors it stands before the two-dimensional network. Names of tensors are those of the published
    detectors' ``backbone_3d``.

    Args:
        in_channels: Of each scale, finest first; each next one is half as fine.
        channels: That each scale adds, and of the result.
    """

    def __init__(self, in_channels: Sequence[int] = (128, 256, 256), channels: int = 128) -> None:
        strides = [2**level for level in range(len(in_channels))]
        super().__init__(in_channels, (channels,) * len(in_channels), strides)
        conv = nn.Conv2d(channels * len(in_channels), channels, 3, padding=1, bias=False)
        self.conv_out = nn.Sequential(conv, nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01), nn.ReLU())
        self.strides = tuple(strides)
        self.out_channels = channels

    def forward(self, levels: Sequence[SparseTensor]) -> Tensor:
        """Sparse tensors on (y, x), finest first -> map [B, channels, y, x].

        Raises:
            ConfigError: The finest grid is not divisible by the coarsest stride.
        """
        shape, coarsest = levels[0].spatial_shape, self.strides[-1]
        if any(size % coarsest for size in shape):
            raise ConfigError(
                f"DenseFusion: {shape[1]} x {shape[0]} pillars (x, y) must be multiples of {coarsest}; change "
                "point_range or voxel_size"
            )
        return self.conv_out(super().forward([level.dense() for level in levels]))
