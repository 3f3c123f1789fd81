"""Decoder whose input is the visible latents followed by mask tokens, never put back into token order."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.backbones.vit import ClassPosition, PositionUse, ViT, class_position_row, learned_token
from mae3d.models.building import build
from mae3d.models.layers.attention import QkvBias
from mae3d.models.layers.initialization import Initialization, initialize
from mae3d.registry import MODELS
from mae3d.structures import Mask

ClassTokenUse = Literal["drop", "keep", "own"]


@MODELS.register_module()
class AppendDecoder(nn.Module):
    """A small transformer over [visible | mask tokens], both in ascending token order.

    Attention does not see the order of tokens, so for a plain transformer this is also the decoder of systems that put
    tokens back in place first (MAE), without the two gathers that this costs. Where the order matters (windows,
    convolutions), see :class:`InPlaceDecoder`.

    Args:
        embed_dim: Width C.
        depth: Number of blocks.
        num_heads: Attention heads.
        position_embedding: Module or config from coordinates to C channels; the decoder owns it.
        input_dim: Width of the encoder's latents, which a linear layer brings to C; None: they have it already.
        projection_bias: Whether that layer has a bias.
        class_token: Of the encoder's class latent: "drop" it, "keep" it as first token, or put the decoder's "own"
            learned token in its place.
        class_position: Position of that first token, see :class:`ViT`.
        mlp_ratio: Hidden width of the MLPs over C.
        qkv_bias: See :class:`mae3d.models.layers.Attention`.
        position: Where positions enter, see :class:`ViT`.
        norm_eps: Epsilon of every LayerNorm.
        drop_path: Rate at the last block; rises linearly from 0.
        initialization: Of the blocks and the projection; the position embedding keeps its own.
        gradient_checkpointing: See :class:`ViT`.
        transformer: Module or config in place of the blocks, with ``encode(tokens, positions)`` and ``norm``.
    """

    def __init__(
        self,
        embed_dim: int = 384,
        depth: int = 4,
        num_heads: int = 6,
        *,
        position_embedding: nn.Module | dict,
        input_dim: int | None = None,
        projection_bias: bool = True,
        class_token: ClassTokenUse = "drop",
        class_position: ClassPosition = False,
        mlp_ratio: float = 4.0,
        qkv_bias: QkvBias = "full",
        position: PositionUse = "once",
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
        initialization: Initialization = "xavier_uniform",
        gradient_checkpointing: bool = False,
        transformer: nn.Module | dict | None = None,
    ) -> None:
        super().__init__()
        if class_token not in ("drop", "keep", "own"):
            raise ConfigError(
                f'{type(self).__name__}: class_token must be "drop", "keep" or "own", got {class_token!r}'
            )
        self.embed_dim = embed_dim
        self.projection = nn.Linear(input_dim, embed_dim, projection_bias) if input_dim else nn.Identity()
        initialize(self.projection, initialization)
        self.mask_token = learned_token(embed_dim)
        self.position_embedding = build(position_embedding)
        self.keep_class = class_token == "keep"
        self.class_token = learned_token(embed_dim) if class_token == "own" else None
        self.class_position = class_position_row(embed_dim, class_token != "drop" and class_position)
        if transformer is None:
            transformer = ViT(
                embed_dim,
                depth,
                num_heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                position=position,
                norm_eps=norm_eps,
                drop_path=drop_path,
                initialization=initialization,
                gradient_checkpointing=gradient_checkpointing,
            )
        self.transformer = build(transformer)

    def forward(self, latents: Tensor, coordinates: Tensor, mask: Mask, queries: Tensor | None = None) -> Tensor:
        """Features of the tokens to predict.

        Args:
            latents: [B, V, input_dim], the encoded visible tokens; with a class token [B, 1 + V, input_dim].
            coordinates: [B, N, D], of all tokens.
            mask: Which are visible.
            queries: int64 [B, Q], the tokens to predict, visible ones allowed; None: the masked ones.

        Returns:
            [B, Q, C], through the final norm, in the order of ``queries``.
        """
        queries = mask.masked if queries is None else queries
        decoded = self.decode(latents, coordinates, mask, queries)
        return self.transformer.norm(decoded[:, decoded.shape[1] - queries.shape[1] :])

    def decode(self, latents: Tensor, coordinates: Tensor, mask: Mask, queries: Tensor | None = None) -> Tensor:
        """Output of the last block before the norm, [B, (1 +) V + Q, C]: class token, visible tokens, queries."""
        queries = mask.masked if queries is None else queries
        first, visible = self.split(latents, mask)
        unknown = self.mask_token.expand(len(visible), queries.shape[1], -1).to(visible.dtype)
        index = torch.cat((mask.visible, queries), dim=1).unsqueeze(-1)
        ordered = coordinates.take_along_dim(index, dim=1)
        positions = self.with_class_position(self.position_embedding(ordered), first.shape[1])
        return self.transformer.encode(torch.cat((first, visible, unknown), dim=1), positions)

    def split(self, latents: Tensor, mask: Mask) -> tuple[Tensor, Tensor]:
        """Projected latents as the class token to go on with [B, 0 or 1, C] and the visible tokens [B, V, C]."""
        extra = latents.shape[1] - mask.num_visible
        if not self.keep_class:
            latents = latents[:, extra:]
        latents = self.projection(latents)
        if self.class_token is not None:
            return self.class_token.expand(len(latents), -1, -1).to(latents.dtype), latents
        return latents[:, : latents.shape[1] - mask.num_visible], latents[:, latents.shape[1] - mask.num_visible :]

    def with_class_position(self, positions: Tensor, count: int) -> Tensor:
        """Positions [B, N, C] preceded by ``count`` (0 or 1) rows for the class token."""
        if not count:
            return positions
        row = positions.new_zeros(1, 1, self.embed_dim) if self.class_position is None else self.class_position
        return torch.cat((row.expand(len(positions), count, -1).to(positions.dtype), positions), dim=1)
