"""Masking of another number of tokens in each sample, with replaced tokens among the visible ones (Point-BERT)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.masking.block import distances_from_a_token
from mae3d.models.masking.random import check_ratio, random_numbers
from mae3d.registry import MODELS
from mae3d.structures import RaggedMask, Tokens


@MODELS.register_module()
class RaggedMasking(nn.Module):
    """Hides a share of the tokens that is drawn anew.

    Source: Point-BERT (arXiv 2111.14819), section 3.3 and official code.

    Args:
        ratio: Lowest and highest share.
        kind: "block": a share r for each sample, of whose N tokens the int(r N) nearest to one of them are hidden.
            "random": one share for the batch, with which every token is hidden or not on its own.
        replacement: Share of the visible tokens in whose place the feature of another token of the batch is put.

    Raises:
        ConfigError: A share outside [0, 1), no two shares in this order, or unknown ``kind``; in use: blocks that are
            all empty.
    """

    def __init__(
        self,
        ratio: tuple[float, float] = (0.25, 0.45),
        kind: Literal["block", "random"] = "block",
        replacement: float = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(ratio, Sequence) or len(ratio) != 2 or ratio[0] > ratio[1]:
            raise ConfigError(f"RaggedMasking: ratio must be (lowest, highest), got {ratio}")
        if kind not in ("block", "random"):
            raise ConfigError(f'RaggedMasking: kind must be "block" or "random", got {kind!r}')
        self.ratio = tuple(check_ratio(bound) for bound in ratio)
        self.kind = kind
        self.replacement = check_ratio(replacement)

    def forward(self, tokens: Tokens, generator: torch.Generator | None = None) -> RaggedMask:
        """Draw one mask per sample of dense tokens; randomness from ``generator`` or the global RNG."""
        coordinates = tokens.coordinates  # [B, N, D]
        masked = self._block(coordinates, generator) if self.kind == "block" else self._random(coordinates, generator)
        if not self.replacement:
            return RaggedMask(masked)
        shape, device = tuple(masked.shape), masked.device
        replaced = random_numbers(shape, device, generator) < self.replacement
        others = random_numbers((masked.numel(),), device, generator).argsort().view(shape)
        return RaggedMask(masked, torch.where(replaced & ~masked, others, -1))

    def _shares(self, count: int, coordinates: Tensor, generator: torch.Generator | None) -> Tensor:
        """[count, 1], uniform between the bounds."""
        low, high = self.ratio
        return low + (high - low) * random_numbers((count, 1), coordinates.device, generator)

    def _block(self, coordinates: Tensor, generator: torch.Generator | None) -> Tensor:
        batch_size, num_tokens = coordinates.shape[:2]
        if int(self.ratio[1] * num_tokens) < 1:
            raise ConfigError(f"RaggedMasking: a block of at most {self.ratio[1]} of {num_tokens} tokens hides none")
        rank = distances_from_a_token(coordinates, generator).argsort(dim=1, stable=True).argsort(dim=1)
        return rank < (self._shares(batch_size, coordinates, generator) * num_tokens).long()

    def _random(self, coordinates: Tensor, generator: torch.Generator | None) -> Tensor:
        share = self._shares(1, coordinates, generator)
        return random_numbers(tuple(coordinates.shape[:2]), coordinates.device, generator) < share

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}, kind={self.kind!r}, replacement={self.replacement}"
