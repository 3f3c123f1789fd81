"""Convolutions that keep the length of a sequence or the size of a map, as data2vec 2.0 uses them."""

from __future__ import annotations

from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of [B, C, ...] without gain and offset."""

    def __init__(self, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> same shape."""
        return nn.functional.layer_norm(x.movedim(1, -1), x.shape[1:2], eps=self.eps).movedim(-1, 1)


class ConvBlock(nn.Sequential):
    """Grouped convolution, :class:`ChannelNorm`, GELU; the size along every axis stays.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Width along every axis; where it is even, the last cell of the wider result is cut off.
        groups: Of the convolution.
        axes: 1 for sequences [B, C, N], 2 for maps [B, C, rows, columns].
    """

    def __init__(self, in_channels: int, out_channels: int, kernel: int, groups: int = 1, axes: int = 1) -> None:
        convolution = (nn.Conv1d, nn.Conv2d)[axes - 1]
        super().__init__(
            convolution(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups),
            ChannelNorm(),
            nn.GELU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, ...] -> [B, out_channels, ...]."""
        convolution, norm, activation = self
        y = convolution(x)
        for axis in range(2, x.dim()):
            y = y.narrow(axis, 0, x.shape[axis])
        return activation(norm(y))
