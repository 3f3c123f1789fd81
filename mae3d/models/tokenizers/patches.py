"""Patches of a regular grid of values: images, clips, spectrograms, volumes.

Source: ViT (arXiv 2010.11929) for images, ViViT (arXiv 2103.15691) for tubelets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.layers.initialization import Initialization
from mae3d.registry import MODELS
from mae3d.structures import Tokens


def patchify(values: Tensor, patch_size: Sequence[int]) -> Tensor:
    """Cut a grid into patches.

    Args:
        values: [B, C, S_1, ..., S_n].
        patch_size: (P_1, ..., P_n); P_i divides S_i.

    Returns:
        [B, N, P_1 * ... * P_n * C]: patches in row-major order; in a patch the channel varies fastest.
    """
    rank = len(patch_size)
    batch_size, channels, *sizes = values.shape
    split = [number for size, patch in zip(sizes, patch_size) for number in (size // patch, patch)]
    cells = values.reshape(batch_size, channels, *split)
    order = (0, *(2 + 2 * axis for axis in range(rank)), *(3 + 2 * axis for axis in range(rank)), 1)
    return cells.permute(order).reshape(batch_size, -1, math.prod(patch_size) * channels)


def unpatchify(patches: Tensor, grid: Sequence[int], patch_size: Sequence[int]) -> Tensor:
    """Inverse of :func:`patchify`: [B, N, P] of a grid of N cells -> [B, C, S_1, ..., S_n]."""
    rank = len(patch_size)
    cells = patches.reshape(patches.shape[0], *grid, *patch_size, -1)
    order = (
        0,
        2 * rank + 1,
        *(axis for pair in zip(range(1, rank + 1), range(rank + 1, 2 * rank + 1)) for axis in pair),
    )
    sizes = (cell * patch for cell, patch in zip(grid, patch_size))
    return cells.permute(order).reshape(patches.shape[0], -1, *sizes)


def grid_coordinates(grid: Sequence[int], device: torch.device | None = None) -> Tensor:
    """Indices of the cells of a grid in row-major order, float32 [N, n]."""
    axes = [torch.arange(size, dtype=torch.float32, device=device) for size in grid]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")], dim=-1)


@MODELS.register_module()
class PatchTokenizer(nn.Module):
    """A grid of values to tokens: one linear map of each patch.

    The map is stored as the convolution of published checkpoints (``projection``, kernel = stride = patch) but applied
    to patches that are cut already, and only to those that are encoded (:meth:`embed`).

    Args:
        patch_size: Side of a patch: an int for square image patches, or one number per axis: (rows, columns),
            (frames, rows, columns), (time, frequency).
        embed_dim: Width C of the tokens.
        in_channels: Channels of the input.
        initialization: Of the weight, seen as [C, values of a patch]: "xavier_uniform", "trunc_normal" or "default"
            (torch's of a convolution). The bias keeps torch's own.
    """

    def __init__(
        self,
        patch_size: int | Sequence[int] = 16,
        embed_dim: int = 768,
        in_channels: int = 3,
        *,
        initialization: Initialization = "default",
    ) -> None:
        super().__init__()
        self.patch_size = (patch_size, patch_size) if isinstance(patch_size, int) else tuple(patch_size)
        if len(self.patch_size) not in (2, 3):
            raise ConfigError(f"PatchTokenizer: patch_size must have 2 or 3 axes, got {patch_size}")
        self.embed_dim = embed_dim
        self.in_channels = in_channels
        convolution = nn.Conv2d if len(self.patch_size) == 2 else nn.Conv3d
        self.projection = convolution(in_channels, embed_dim, self.patch_size, self.patch_size)
        if initialization == "xavier_uniform":
            nn.init.xavier_uniform_(self.projection.weight.data.view(embed_dim, -1))
        elif initialization == "trunc_normal":
            nn.init.trunc_normal_(self.projection.weight, std=0.02)

    def forward(self, values: Tensor) -> Tokens:
        """Cut [B, channels, S_1, ..., S_n] into tokens.

        Returns:
            Tokens with ``content`` [B, N, values of a patch] (channel fastest), ``features`` the same, to be given to
            :meth:`embed`, ``coordinates`` the cells' indices and ``grid`` their numbers.

        Raises:
            ValueError: Number of axes or channels differs, or a side is no multiple of its patch.
        """
        sizes = values.shape[2:]
        fits = len(sizes) == len(self.patch_size) and values.shape[1] == self.in_channels
        if not fits or any(size % patch for size, patch in zip(sizes, self.patch_size)):
            raise ValueError(
                f"PatchTokenizer takes [B, {self.in_channels}, sides that are multiples of {list(self.patch_size)}], "
                f"got {list(values.shape)}; resize or crop the input, or change patch_size or in_channels"
            )
        grid = tuple(size // patch for size, patch in zip(sizes, self.patch_size))
        content = patchify(values, self.patch_size)
        coordinates = grid_coordinates(grid, values.device).expand(len(values), -1, -1)
        return Tokens(content, coordinates, content, grid=grid)

    def embed(self, content: Tensor) -> Tensor:
        """Patches [..., values of a patch] -> [..., C]."""
        return F.linear(content, self.projection.weight.movedim(1, -1).flatten(1), self.projection.bias)
