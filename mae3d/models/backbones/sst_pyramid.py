"""Sparse pyramid of GD-MAE and T-MAE: stages of SST at one, two and four pillars a cell, convolutions between them.

Sources: Yang et al., GD-MAE (arXiv 2212.03010), ``SPTBackbone``; Wei et al., T-MAE (arXiv 2312.10217), ``SiamWCA``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones.sst import SSTBackbone, initialize_block
from mae3d.models.layers.attention import Attention
from mae3d.models.layers.block import CrossBlock
from mae3d.models.layers.sparse_conv import SparseConv2d, SubMConv2d
from mae3d.models.layers.sparse_sequential import SparseBatchNorm, SparseSequential
from mae3d.models.layers.windows import WindowPosition, plan_joint_windows, plan_windows
from mae3d.registry import MODELS
from mae3d.structures import Voxels
from mae3d.structures.sparse_tensor import SparseTensor

_norm = partial(SparseBatchNorm, eps=1e-3, momentum=0.01)
SHIFTS = (False, True)


def pillar_input(voxels: Voxels) -> SparseTensor:
    """Pillars with features as a sparse tensor on (y, x).

    Raises:
        ConfigError: The grid has more than one cell in height.
    """
    x, y, z = voxels.grid.grid_size
    if z != 1:
        raise ConfigError(
            f"SSTPyramid: expects pillars, one cell in height, got a grid of {z}; make voxel_size as high as the range"
        )
    coordinates = voxels.coordinates[:, [0, 2, 3]].int()
    return SparseTensor(voxels.features, coordinates, (y, x), voxels.batch_size, trusted=True)


def cells_of(x: SparseTensor) -> tuple[Tensor, tuple[int, int, int]]:
    """Cells int64 [V, 4] (cloud, 0, y, x) and the size of the grid (x, y, 1), as windows are planned from."""
    cloud, row, column = x.coordinates.long().unbind(dim=1)
    height, width = x.spatial_shape
    return torch.stack((cloud, torch.zeros_like(cloud), row, column), dim=1), (width, height, 1)


def _after(layer: SubMConv2d | SparseConv2d) -> SparseSequential:
    return SparseSequential(layer, _norm(layer.out_channels), nn.ReLU())


class SSTStage(nn.Module):
    """y = down(x) where the stage is coarser than the one before; then out(y + SST(y)).

    Args:
        in_channels: Of the stage before.
        channels: C.
        depth: Pairs of attention layers.
        num_heads: Attention heads.
        window: Side of a window in cells of the stage.
        key: Prefix of the indice keys.
        down: Halve the resolution first.
        gradient_checkpointing: See :class:`SSTBackbone`.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        depth: int,
        num_heads: int,
        window: int,
        key: str,
        *,
        down: bool,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if not down and in_channels != channels:
            raise ConfigError(f"SSTStage: the first stage keeps its width, got {in_channels} and {channels} channels")
        conv = partial(SparseConv2d, in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.down = _after(conv(indice_key=f"{key}_down")) if down else None
        self.transformer = SSTBackbone(
            channels,
            depth,
            num_heads,
            window=(window, window, 1),
            temperature=1000.0,
            similarity="cosine",
            initialization="torch",
            gradient_checkpointing=gradient_checkpointing,
        )
        self.out = _after(SubMConv2d(channels, channels, 3, bias=False, indice_key=f"{key}_same"))

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Features on the cells of the stage before -> on its own."""
        x = x if self.down is None else self.down(x)
        cells, grid = cells_of(x)
        plans = [plan_windows(cells, self.transformer.window, grid, x.batch_size, shifted=shift) for shift in SHIFTS]
        return self.out(x.replace_features(x.features + self.transformer.run(x.features, plans)))


class WindowCrossAttention(nn.Module):
    """out(x + WCA(x, previous)): two layers that ask the previous frame, in whole windows, then in shifted ones.

    Both layers read the previous features as they came. In a window that is empty in either frame the tokens of the
    current one pass norms and MLP without attention.

    Args:
        channels: C.
        num_heads: Attention heads.
        window: Side of a window in cells.
        key: Prefix of the indice key; that of the stage, as the cells are the same.
    """

    def __init__(self, channels: int, num_heads: int, window: int, key: str) -> None:
        super().__init__()
        self.window = (window, window, 1)
        self.position = WindowPosition(channels, self.window, 1000.0)
        self.blocks = nn.ModuleList(CrossBlock(channels, num_heads) for _ in SHIFTS)
        self.out = _after(SubMConv2d(channels, channels, 3, bias=False, indice_key=f"{key}_same"))
        for block in self.blocks:
            initialize_block(block, "torch")

    def forward(self, x: SparseTensor, previous: SparseTensor) -> SparseTensor:
        """Features of the current frame, informed by those of the previous one on the same grid."""
        return self.out(x.replace_features(x.features + self.attend(x, previous)))

    def attend(self, x: SparseTensor, previous: SparseTensor) -> Tensor:
        """The two layers alone, [V, C]."""
        (cells, grid), (before, _) = cells_of(x), cells_of(previous)
        tokens = x.features
        for block, shift in zip(self.blocks, SHIFTS):
            plan = plan_joint_windows(cells, before, self.window, grid, shifted=shift)
            memory = previous.features[plan.key_rows]
            positions = (self.position(plan.query_cells), self.position(plan.key_cells))
            tokens = block(tokens, memory, plan.query_rows, plan.packing, *positions)
        return tokens


@MODELS.register_module()
class SSTPyramid(nn.Module):
    """Encoder of GD-MAE.

    Args:
        in_channels: Features of a pillar.
        widths: Channels of each stage; each but the first halves the resolution.
        depth: Pairs of attention layers of each stage.
        num_heads: Attention heads.
        window: Side of a window in cells of its stage.
        train_projections: Published runs never train the input projections and temperatures of attention: their
            optimiser is built from leaf modules, and these parameters belong to none. False reproduces that.
        gradient_checkpointing: Recompute attention layers in the backward pass.
    """

    def __init__(
        self,
        in_channels: int = 128,
        widths: Sequence[int] = (128, 256, 256),
        depth: int = 2,
        num_heads: int = 8,
        *,
        window: int = 8,
        train_projections: bool = True,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.channels = tuple(widths)
        self.stages = nn.ModuleList(
            SSTStage(
                widths[k - 1] if k else in_channels,
                width,
                depth,
                num_heads,
                window,
                f"stage{k}",
                down=k > 0,
                gradient_checkpointing=gradient_checkpointing,
            )
            for k, width in enumerate(widths)
        )
        self.train_projections = train_projections
        self._freeze()

    def _freeze(self) -> None:
        for parameter in projections(self):
            parameter.requires_grad_(self.train_projections)

    def forward(self, voxels: Voxels) -> list[SparseTensor]:
        """Pillars with features -> features of each stage, finest first."""
        x, levels = pillar_input(voxels), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        return levels


@MODELS.register_module()
class SiamWCA(SSTPyramid):
    """Encoder of T-MAE: one pyramid for both frames, cross-attention to the previous one at each scale.

    A stage reads the features of the stage before, not those that cross-attention made of them.

    Args:
        in_channels: Features of a pillar.
        widths: See :class:`SSTPyramid`.
        depth: See :class:`SSTPyramid`.
        num_heads: Attention heads.
        window: Side of a window in cells, of both kinds of attention.
        previous_gradient: Train the pyramid through the previous frame too. False is the published option "SimSiam",
            which no published run uses.
        **options: Further options of :class:`SSTPyramid`.
    """

    def __init__(
        self,
        in_channels: int = 128,
        widths: Sequence[int] = (128, 256, 256),
        depth: int = 2,
        num_heads: int = 8,
        *,
        window: int = 8,
        previous_gradient: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, widths, depth, num_heads, window=window, **options)
        self.cross = nn.ModuleList(
            WindowCrossAttention(width, num_heads, window, f"stage{k}") for k, width in enumerate(widths)
        )
        self.previous_gradient = previous_gradient
        self._freeze()

    def forward(self, voxels: Voxels, previous: Voxels) -> list[SparseTensor]:
        """Pillars of both frames in the current sensor's frame -> features of the current one, finest first.

        Raises:
            ConfigError: The frames are on different grids, or of different numbers of samples.
        """
        if previous.grid != voxels.grid or previous.batch_size != voxels.batch_size:
            raise ConfigError(
                f"SiamWCA: both frames need one grid and batch size, got {voxels.grid} with {voxels.batch_size} "
                f"samples and {previous.grid} with {previous.batch_size}"
            )
        current = super().forward(voxels)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.previous_gradient):
            before = super().forward(previous)
        return [cross(*levels) for cross, *levels in zip(self.cross, current, before)]


def projections(module: nn.Module) -> Iterator[nn.Parameter]:
    """Input projections and temperatures of every attention in ``module``."""
    for layer in module.modules():
        if isinstance(layer, Attention):
            yield from (layer.qkv.weight, layer.qkv.bias)
            if layer.tau is not None:
                yield layer.tau
