"""Decoder whose input is all tokens in their own order, mask tokens in the gaps."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.models.decoders.append import AppendDecoder
from mae3d.registry import MODELS
from mae3d.structures import Mask


@MODELS.register_module()
class InPlaceDecoder(AppendDecoder):
    """As :class:`AppendDecoder`, with every token back in its place: for transformers that see the order.

    With a plain transformer both give the same numbers.
    """

    def forward(self, latents: Tensor, coordinates: Tensor, mask: Mask, queries: Tensor | None = None) -> Tensor:
        """Features of the tokens to predict, see :class:`AppendDecoder`."""
        decoded = self.decode(latents, coordinates, mask)
        tokens = decoded[:, decoded.shape[1] - mask.num_tokens :]
        index = mask.masked if queries is None else queries
        return self.transformer.norm(tokens.take_along_dim(index.unsqueeze(-1), dim=1))

    def decode(self, latents: Tensor, coordinates: Tensor, mask: Mask, queries: Tensor | None = None) -> Tensor:
        """Output of the last block before the norm, [B, (1 +) N, C]: class token, then all tokens in order."""
        first, visible = self.split(latents, mask)
        unknown = self.mask_token.expand(len(visible), mask.num_masked, -1).to(visible.dtype)
        tokens = torch.cat((first, mask.restore(visible, unknown)), dim=1)
        positions = self.with_class_position(self.position_embedding(coordinates), first.shape[1])
        return self.transformer.encode(tokens, positions)
