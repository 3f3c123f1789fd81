"""What pre-training by P3P and its classifiers share: tokenizer, encoder, packed tokens, the published padding."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones import ViT
from mae3d.models.layers import CoordinateMlp, initialize
from mae3d.models.tokenizers.voxel_patches import CellOrder, VoxelPatchTokenizer
from mae3d.structures import VoxelPatches

Padding = Literal["none", "published"]


def encoder_parts(
    *,
    embed_dim: int = 384,
    depth: int = 12,
    num_heads: int = 6,
    color: bool = True,
    cells: int = 224,
    patch_size: int = 16,
    max_patches: int | None = 512,
    order: CellOrder = "little",
    drop_path: float = 0.0,
    class_position: bool = False,
    gradient_checkpointing: bool = False,
) -> dict[str, nn.Module]:
    """Tokenizer, position embedding and encoder, as pre-training and every downstream network use them."""
    position_embedding = CoordinateMlp(embed_dim, hidden_dim=embed_dim)
    initialize(position_embedding, "xavier_uniform")
    return {
        "tokenizer": VoxelPatchTokenizer(
            embed_dim, color=color, cells=cells, patch_size=patch_size, max_patches=max_patches, order=order
        ),
        "position_embedding": position_embedding,
        "encoder": ViT(
            embed_dim,
            depth,
            num_heads,
            drop_path=drop_path,
            class_token=True,
            class_position=class_position,
            initialization="xavier_uniform",
            gradient_checkpointing=gradient_checkpointing,
        ),
    }


def pack(points: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
    """Packed rows and offsets of clouds that are packed already, or dense [B, N, C]."""
    if offsets is not None:
        return points, offsets
    batch, count, _ = points.shape
    return points.flatten(0, 1), torch.arange(batch + 1, device=points.device) * count


class PaddedTokens(NamedTuple):
    """Tokens of a batch as one dense tensor.

    Attributes:
        features: [B, L, D], zeros behind a cloud's last token.
        coordinates: [B, L, 3], zeros likewise.
        allowed: bool [B, L, L]: which tokens see which; all but padding and padding.
        slot: int64 [P], the place of each packed token among the B L.
    """

    features: Tensor
    coordinates: Tensor
    allowed: Tensor
    slot: Tensor


def pad_tokens(tokens: VoxelPatches, length: int) -> PaddedTokens:
    """Pad every cloud to ``length`` tokens."""
    cloud = tokens.cloud
    slot = torch.arange(len(tokens), device=cloud.device) - tokens.offsets[cloud] + cloud * length

    def dense(rows: Tensor) -> Tensor:
        empty = rows.new_zeros(tokens.batch_size * length, rows.shape[1])
        return empty.index_copy(0, slot, rows).unflatten(0, (tokens.batch_size, length))

    real = dense(torch.ones_like(tokens.coordinates[:, :1])).squeeze(2) > 0
    allowed = real.unsqueeze(2) | real.unsqueeze(1)
    return PaddedTokens(dense(tokens.features), dense(tokens.coordinates), allowed, slot)


def encode_all(
    tokens: VoxelPatches, position_embedding: nn.Module, encoder: nn.Module, padding: Padding, length: int | None
) -> Tensor:
    """Class latents [B, D] with nothing hidden."""
    if padding == "none":
        latents = encoder(tokens.features, position_embedding(tokens.coordinates), tokens.offsets)
        return latents[tokens.offsets[:-1] + torch.arange(tokens.batch_size, device=latents.device)]
    padded = pad_tokens(tokens, length)
    return encoder(padded.features, position_embedding(padded.coordinates), allowed=padded.allowed)[:, 0]


def check_padding(name: str, padding: Padding, max_patches: int | None) -> Padding:
    """``padding`` if it is known and there is a length to pad to."""
    if padding not in ("none", "published"):
        raise ConfigError(f'{name}: padding must be "none" or "published", got {padding!r}')
    if padding == "published" and max_patches is None:
        raise ConfigError(f'{name}: padding="published" pads to max_patches, which is None; set it, e.g. to 512')
    return padding
