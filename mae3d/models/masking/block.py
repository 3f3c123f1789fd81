"""Masking of one connected region."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.models.masking.random import check_ratio, masked_count, random_numbers
from mae3d.registry import MODELS
from mae3d.structures import Mask, Tokens


def distances_from_a_token(coordinates: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Squared distances [B, N] of all tokens at ``coordinates`` [B, N, D] from one of them, drawn for each sample.

    That of the drawn token itself is -1, so that no duplicate of it comes before it.
    """
    batch_size, num_tokens = coordinates.shape[:2]
    draws = random_numbers((batch_size, 1), coordinates.device, generator)
    seed = (draws * num_tokens).long().clamp(max=num_tokens - 1)  # [B, 1]
    center = coordinates.take_along_dim(seed.unsqueeze(-1), dim=1)
    return (coordinates - center).square().sum(dim=-1).scatter(1, seed, -1.0)


@MODELS.register_module()
class BlockMasking(nn.Module):
    """Hides a token drawn at random and its nearest tokens, the same number in every sample.

    Source: Point-BERT, section 3.3; Point-MAE's ``block`` option.

    Args:
        ratio: Share of masked tokens; int(N * ratio) are hidden.
    """

    def __init__(self, ratio: float = 0.6) -> None:
        super().__init__()
        self.ratio = check_ratio(ratio)

    def masked_tokens(self, tokens: Tokens) -> int:
        """How many tokens of a sample are hidden."""
        return masked_count(tokens.coordinates.shape[1], self.ratio)

    def forward(self, tokens: Tokens, generator: torch.Generator | None = None) -> Mask:
        """Draw one mask per sample of dense tokens; randomness from ``generator`` or the global RNG."""
        squared = distances_from_a_token(tokens.coordinates, generator)
        order = squared.argsort(dim=1, descending=True, stable=True)
        return Mask.from_order(order, self.masked_tokens(tokens))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}"
