"""SST: a single-stride sparse transformer, attention within windows of voxels that shift from layer to layer.

Source: Fan et al., Embracing Single Stride 3D Object Detector with Sparse Transformer (arXiv 2112.06375), in the form
Voxel-MAE uses (arXiv 2207.00531). Published code batches windows by padding them to a few fixed lengths; here every
window is attended at its own length, with equal results.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mae3d.errors import ConfigError
from mae3d.models.layers.attention import Similarity
from mae3d.models.layers.block import Block, CrossBlock
from mae3d.models.layers.grouping import within_limit
from mae3d.models.layers.windows import WindowPlan, WindowPosition, permute_rows, plan_windows
from mae3d.ops.window import window_partition
from mae3d.registry import MODELS
from mae3d.structures import VoxelGrid, Voxels


def initialize_block(block: Block | CrossBlock, initialization: Literal["xavier", "torch"]) -> None:
    """Xavier matrices, zero biases in attention; biases of the MLPs keep torch's default, as published."""
    if initialization not in ("xavier", "torch"):
        raise ConfigError(f'SST: initialization must be "xavier" or "torch", got {initialization!r}')
    projections = (block.attn.proj, block.mlp.fc1, block.mlp.fc2) if initialization == "xavier" else ()
    for layer in (block.attn.qkv, *projections):
        nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(block.attn.qkv.bias)
    nn.init.zeros_(block.attn.proj.bias)


@MODELS.register_module()
class SSTBackbone(nn.Module):
    """Transformer over voxels that are already embedded; the resolution never changes.

    Layer i attends within the windows of partition i % 2: whole windows, then windows shifted by half of one. Blocks
    are post-norm; the place inside the window enters queries and keys of every layer.

    Args:
        embed_dim: Width C.
        depth: Pairs of layers, at least 1.
        num_heads: Attention heads.
        window: Window size in voxels (x, y, z).
        mlp_ratio: Hidden width of the MLPs over C.
        temperature: Of the position encoding.
        norm_eps: Epsilon of every LayerNorm.
        similarity: "dot" or "cosine", see :class:`Attention`.
        initialization: "xavier" for every matrix, as Voxel-MAE; "torch" leaves linear layers at torch's default and has
            Xavier for the input projections of attention alone, as GD-MAE.
        max_window_tokens: In training, windows with more voxels lose random ones for good: first in the whole windows,
            then, of the survivors, in the shifted ones. The published fine-tuning uses 250 of 256. None keeps all.
        gradient_checkpointing: Recompute layers in the backward pass instead of keeping their activations.
    """

    def __init__(
        self,
        embed_dim: int = 128,
        depth: int = 8,
        num_heads: int = 8,
        *,
        window: Sequence[int] = (16, 16, 1),
        mlp_ratio: float = 2.0,
        temperature: float = 10000.0,
        norm_eps: float = 1e-5,
        similarity: Similarity = "dot",
        initialization: Literal["xavier", "torch"] = "xavier",
        max_window_tokens: int | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if len(window) != 3 or min(window) < 1:
            raise ConfigError(f"SSTBackbone: window must be three sizes (x, y, z) of at least 1, got {list(window)}")
        if max_window_tokens is not None and max_window_tokens < 1:
            raise ConfigError(f"SSTBackbone: max_window_tokens must be at least 1 or None, got {max_window_tokens}")
        self.embed_dim = embed_dim
        self.num_layers = 2 * depth
        self.window = tuple(int(size) for size in window)
        self.max_window_tokens = max_window_tokens
        self.gradient_checkpointing = gradient_checkpointing
        self.position = WindowPosition(embed_dim, self.window, temperature)
        self.blocks = nn.ModuleList(
            Block(embed_dim, num_heads, mlp_ratio=mlp_ratio, norm="post", norm_eps=norm_eps, similarity=similarity)
            for _ in range(self.num_layers)
        )
        for block in self.blocks:
            initialize_block(block, initialization)

    def forward(self, voxels: Voxels, generator: torch.Generator | None = None) -> Voxels:
        """Voxels with features [V, C] -> the same voxels with new ones (fewer where ``max_window_tokens`` dropped).

        ``generator`` draws the dropped voxels; None uses the global RNG of the device.
        """
        if self.training and self.max_window_tokens is not None:
            voxels = self._drop(voxels, generator)
        features = self.encode(voxels.features, voxels.coordinates, voxels.grid, voxels.batch_size)
        return voxels.replace_features(features)

    def encode(self, features: Tensor, coordinates: Tensor, grid: VoxelGrid, batch_size: int) -> Tensor:
        """Tokens [T, C] at cells ``coordinates`` int64 [T, 4] (cloud, z, y, x), in any order -> [T, C]."""
        plans = [
            plan_windows(coordinates, self.window, grid.grid_size, batch_size, shifted=shifted)
            for shifted in (False, True)
        ]
        return self.run(features, plans)

    def run(self, features: Tensor, plans: Sequence[WindowPlan]) -> Tensor:
        """As :meth:`encode`, with the windows of both partitions already planned."""
        whole, shifted = plans
        positions = [self.position(plan.cells) for plan in plans]
        to_shifted = whole.inverse[shifted.order], shifted.inverse[whole.order]
        x = permute_rows(features, whole.order, whole.inverse)
        for index, block in enumerate(self.blocks):
            side = index % 2
            if index:
                x = permute_rows(x, *(to_shifted if side else to_shifted[::-1]))
            x = self._layer(block, x, plans[side], positions[side])
        return permute_rows(x, shifted.inverse, shifted.order)

    def _layer(self, block: Block, x: Tensor, plan: WindowPlan, position: Tensor) -> Tensor:
        if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(block, x, plan.packing, position, use_reentrant=False)
        return block(x, plan.packing, position)

    def _drop(self, voxels: Voxels, generator: torch.Generator | None) -> Voxels:
        for shifted in (False, True):
            windows = window_partition(voxels.coordinates, self.window, voxels.grid.grid_size, shifted=shifted).windows
            kept = within_limit(windows, self.max_window_tokens, generator)
            if len(kept) < len(voxels):
                voxels = voxels.select(kept)
        return voxels
