"""Decoder from sparse latents to the occupancy of every cell (Occupancy-MAE and R-MAE)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.registry import MODELS
from mae3d.structures import SparseTensor

STRIDES = ((2, 2, 2), (4, 2, 2), (3, 2, 2))
"""(z, y, x) of the three stages: height 2 -> 4 -> 14 -> 41, width times 8."""


@MODELS.register_module()
class OccupancyDecoder(nn.Module):
    """Three transposed convolutions of kernel 3 without bias; BatchNorm and ReLU between them.

    The output fits encoders of stride 8 on grids of 41 layers whose width and depth are multiples of 8.
    :func:`mae3d.models.decoders.sparse_occupancy.decode_sparse` evaluates the same function near occupied cells only.

    Args:
        in_channels: Of the latents.
        channels: Of the two hidden stages.

    Raises:
        ConfigError: Not two hidden stages.
    """

    def __init__(self, in_channels: int = 128, channels: Sequence[int] = (32, 8)) -> None:
        super().__init__()
        if len(channels) != 2:
            raise ConfigError(f"OccupancyDecoder: channels are those of two hidden stages, got {list(channels)}")
        first, second = channels
        self.deconv1 = nn.Sequential(_deconv(in_channels, first, STRIDES[0]), nn.BatchNorm3d(first), nn.ReLU())
        self.deconv2 = nn.Sequential(_deconv(first, second, STRIDES[1]), nn.BatchNorm3d(second), nn.ReLU())
        self.deconv3 = nn.Sequential(_deconv(second, 1, STRIDES[2]))

    @property
    def stages(self) -> tuple[nn.Sequential, nn.Sequential, nn.Sequential]:
        """The three stages in order."""
        return self.deconv1, self.deconv2, self.deconv3

    def forward(self, latents: SparseTensor | Tensor) -> Tensor:
        """Occupancy logits [B, 1, Z, Y, X] of latents on a grid (z, Y / 8, X / 8)."""
        x = latents.dense() if isinstance(latents, SparseTensor) else latents
        for stage in self.stages:
            x = stage(x)
        return x


def output_size(size: int, stride: int) -> int:
    """Cells along one axis behind a stage: kernel 3, padding 1, output padding 1."""
    return (size - 1) * stride + 2


def _deconv(in_channels: int, out_channels: int, stride: tuple[int, ...]) -> nn.ConvTranspose3d:
    return nn.ConvTranspose3d(in_channels, out_channels, 3, stride, padding=1, output_padding=1, bias=False)
