"""Decoder whose input is all tokens in their own order, mask tokens in the gaps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from mae3d.models.decoders.append import AppendDecoder
from mae3d.registry import MODELS
from mae3d.structures import Mask, VoxelMask


@MODELS.register_module()
class InPlaceDecoder(AppendDecoder):
    """As :class:`AppendDecoder`, with every token back in its place: for transformers that see the order, for models
    that predict all tokens, and for tokens that do not all see each other (P3P).

    With a plain transformer both give the same numbers.
    """

    def forward(self, latents: Tensor, coordinates: Tensor, mask: Mask, queries: Tensor | None = None) -> Tensor:
        """Features of the tokens to predict, see :class:`AppendDecoder`."""
        tokens = self.decode(latents, coordinates, mask)[:, -mask.num_tokens :]
        index = mask.masked if queries is None else queries
        return self.transformer.norm(tokens.take_along_dim(index.unsqueeze(-1), dim=1))

    def forward_all(self, latents: Tensor, coordinates: Tensor, mask: Mask, allowed: Tensor | None = None) -> Tensor:
        """Features of all tokens [B, N, C] in their order; ``allowed`` as of :meth:`decode`."""
        return self.transformer.norm(self.decode(latents, coordinates, mask, allowed=allowed)[:, -mask.num_tokens :])

    def forward_packed(self, latents: Tensor, coordinates: Tensor, offsets: Tensor, mask: VoxelMask) -> Tensor:
        """Features of all tokens of clouds with different counts; the encoder's class latent goes along.

        Args:
            latents: [B + V, input_dim], in each cloud the class token first.
            coordinates: [P, D], of all tokens.
            offsets: int64 [B + 1] of all tokens.
            mask: Which are visible.

        Returns:
            [P, C], through the final norm.
        """
        latents = self.projection(latents)
        cloud = torch.repeat_interleave(offsets.diff(), output_size=len(coordinates))
        rows = torch.arange(len(cloud), device=cloud.device) + cloud + 1  # of the tokens, class tokens between
        heads = offsets[:-1] + torch.arange(len(offsets) - 1, device=cloud.device)
        size = len(rows) + len(heads)
        taken = torch.zeros(size, dtype=torch.bool, device=cloud.device)
        taken = taken.index_fill(0, rows[mask.visible], True).index_fill(0, heads, True)
        tokens = self.mask_token[0].to(latents.dtype).expand(size, -1)
        tokens = tokens.index_copy(0, taken.nonzero().squeeze(1), latents)
        positions = self.position_embedding(coordinates)
        positions = positions.new_zeros(size, self.embed_dim).index_copy(0, rows, positions)
        shifted = offsets + torch.arange(len(offsets), device=offsets.device)
        return self.transformer(tokens, positions, shifted)[rows]

    def decode(
        self,
        latents: Tensor,
        coordinates: Tensor,
        mask: Mask,
        queries: Tensor | None = None,
        allowed: Tensor | None = None,
    ) -> Tensor:
        """Output of the last block before the norm, [B, (1 +) N, C]: class token, then all tokens in order.

        ``allowed``, bool [B, N, N], tells which tokens see which; the class token sees all and is seen by all.
        """
        first, visible = self.split(latents, mask)
        unknown = self.mask_token.expand(len(visible), mask.num_masked, -1).to(visible.dtype)
        tokens = torch.cat((first, mask.restore(visible, unknown)), dim=1)
        positions = self.with_class_position(self.position_embedding(coordinates), first.shape[1])
        if allowed is None:
            return self.transformer.encode(tokens, positions)
        count = first.shape[1]
        allowed = pad(allowed, (count, 0, count, 0), value=True)
        return self.transformer.encode(tokens, positions, allowed=allowed)
