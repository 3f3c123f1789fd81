"""Networks on dense bird's-eye maps [B, C, H (y), W (x)] between a 3D encoder and a detection head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones.sparse_voxel import fold_height
from mae3d.registry import MODELS
from mae3d.structures.sparse_tensor import SparseTensor
from mae3d.structures.voxels import Voxels

_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def bev_map(features: Tensor | SparseTensor | Voxels | list[SparseTensor]) -> Tensor | list[SparseTensor]:
    """Dense bird's-eye map [B, C, H (y), W (x)] of whatever a 3D backbone gives.

    A map stays as it is, and so does a pyramid of sparse tensors, which :class:`DenseFusion` takes.
    """
    if isinstance(features, SparseTensor):
        return fold_height(features)
    if isinstance(features, Voxels):
        return features.to_bev()
    return features


def _upsample(inputs: int, outputs: int, stride: float) -> nn.Sequential:
    """Transposed convolution to a finer map, or a strided one (stride below 1) to a coarser map."""
    if stride >= 1:
        size = round(stride)
        conv: nn.Module = nn.ConvTranspose2d(inputs, outputs, size, stride=size, bias=False)
    else:
        size = round(1 / stride)
        conv = nn.Conv2d(inputs, outputs, size, stride=size, bias=False)
    return nn.Sequential(conv, _norm(outputs), nn.ReLU())


def _same_length(owner: str, **lists: Sequence[object]) -> None:
    if len({len(values) for values in lists.values()}) != 1:
        sizes = ", ".join(f"{name} {len(values)}" for name, values in lists.items())
        raise ConfigError(f"{owner}: one entry per level is expected in each list, got {sizes}")


@MODELS.register_module()
class BaseBEVBackbone(nn.Module):
    """Two-dimensional network of SECOND: levels of plain convolutions, each brought to one resolution and joined.

    Names of tensors are those of OpenPCDet's ``backbone_2d``.

    Args:
        in_channels: C.
        layers: Convolutions of each level after its first, strided one.
        strides: Of the first convolution of each level.
        filters: Channels of each level.
        upsample_strides: From each level to the result; below 1 goes to a coarser map.
        upsample_filters: Channels that each level adds to the result.

    Raises:
        ConfigError: The lists differ in length.
    """

    def __init__(
        self,
        in_channels: int,
        layers: Sequence[int] = (5, 5),
        strides: Sequence[int] = (1, 2),
        filters: Sequence[int] = (128, 256),
        upsample_strides: Sequence[float] = (1, 2),
        upsample_filters: Sequence[int] = (256, 256),
    ) -> None:
        super().__init__()
        _same_length(
            "BaseBEVBackbone",
            layers=layers,
            strides=strides,
            filters=filters,
            upsample_strides=upsample_strides,
            upsample_filters=upsample_filters,
        )
        self.blocks = nn.ModuleList()
        self.deblocks = nn.ModuleList()
        for level, width in enumerate(filters):
            inputs = in_channels if level == 0 else filters[level - 1]
            self.blocks.append(self._level(inputs, width, strides[level], layers[level]))
            self.deblocks.append(_upsample(width, upsample_filters[level], upsample_strides[level]))
        self.out_channels = sum(upsample_filters)

    @staticmethod
    def _level(inputs: int, width: int, stride: int, layers: int) -> nn.Sequential:
        first = [nn.ZeroPad2d(1), nn.Conv2d(inputs, width, 3, stride=stride, bias=False), _norm(width), nn.ReLU()]
        rest = [
            module
            for _ in range(layers)
            for module in (nn.Conv2d(width, width, 3, padding=1, bias=False), _norm(width), nn.ReLU())
        ]
        return nn.Sequential(*first, *rest)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, sum of ``upsample_filters``, H', W']."""
        levels = []
        for block, deblock in zip(self.blocks, self.deblocks):
            x = block(x)
            levels.append(deblock(x))
        return torch.cat(levels, dim=1)


@MODELS.register_module()
class SECONDFPN(nn.Module):
    """Upsampling neck alone, as mmdet3d's class of this name; on one level it only changes the channels.

    Args:
        in_channels: Of each level.
        out_channels: That each level adds to the result.
        upsample_strides: From each level to the result.

    Raises:
        ConfigError: The lists differ in length.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (128,),
        out_channels: Sequence[int] = (384,),
        upsample_strides: Sequence[float] = (1,),
    ) -> None:
        super().__init__()
        _same_length("SECONDFPN", in_channels=in_channels, out_channels=out_channels, upsample_strides=upsample_strides)
        levels = zip(in_channels, out_channels, upsample_strides)
        self.deblocks = nn.ModuleList(_upsample(*level) for level in levels)
        self.out_channels = sum(out_channels)

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        """One map or one per level -> [B, sum of ``out_channels``, H, W]."""
        levels = [x] if isinstance(x, Tensor) else list(x)
        return torch.cat([deblock(level) for deblock, level in zip(self.deblocks, levels)], dim=1)


class ConvNormReLU(nn.Module):
    """3x3 convolution, BatchNorm, ReLU, under the names of mmcv's ``ConvModule``."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn = _norm(outputs)
        self.activate = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H, W]."""
        return self.activate(self.bn(self.conv(x)))


@MODELS.register_module()
class AttachedConvs(nn.Module):
    """The convolutions that SST puts behind its sparse transformer, to fill the empty cells around objects.

    Voxel-MAE fine-tunes with three of dilation 1, 1, 2; GD-MAE and T-MAE with four of 1, 1, 2, 1, the first three
    residual.

    Args:
        in_channels: C.
        channels: Of every convolution.
        dilations: One per convolution.
        residual: Numbers of the convolutions whose input is added to their output.

    Raises:
        ConfigError: A residual convolution changes the number of channels, or is not there.
    """

    def __init__(
        self,
        in_channels: int = 128,
        channels: int = 128,
        dilations: Sequence[int] = (1, 1, 2),
        residual: Sequence[int] = (),
    ) -> None:
        super().__init__()
        wrong = [n for n in residual if not 0 <= n < len(dilations) or (n == 0 and in_channels != channels)]
        if wrong:
            raise ConfigError(
                f"AttachedConvs: residual={list(residual)} names {wrong}; there are {len(dilations)} convolutions, "
                f"the first from {in_channels} to {channels} channels"
            )
        inputs = (in_channels, *(channels for _ in dilations[1:]))
        self.conv_layer = nn.ModuleList(ConvNormReLU(i, channels, d) for i, d in zip(inputs, dilations))
        self.residual = frozenset(residual)
        self.out_channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, channels, H, W]."""
        for number, layer in enumerate(self.conv_layer):
            x = x + layer(x) if number in self.residual else layer(x)
        return x


@MODELS.register_module()
class BEVSequential(nn.Sequential):
    """Several of the above, one after the other.

    Args:
        *parts: Modules or configs.
    """

    def __init__(self, parts: Sequence[nn.Module | dict]) -> None:
        super().__init__(*(MODELS.build(part) if isinstance(part, dict) else part for part in parts))
        self.out_channels = self[-1].out_channels
