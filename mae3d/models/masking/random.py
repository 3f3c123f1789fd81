"""Uniformly random masking."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.registry import MODELS
from mae3d.structures import Mask, Tokens


def masked_count(num_tokens: int, ratio: float, exact: Literal["masked", "visible"] = "masked") -> int:
    """Number of masked tokens.

    Args:
        num_tokens: N.
        ratio: Wanted share of masked tokens.
        exact: Which count is rounded down: int(N * ratio) masked tokens, or int(N * (1 - ratio)) visible ones.
            Published systems use one or the other, with these floating-point expressions.
    """
    return int(ratio * num_tokens) if exact == "masked" else num_tokens - int(num_tokens * (1 - ratio))


def check_ratio(ratio: float) -> float:
    """``ratio`` if it lies in [0, 1)."""
    if not 0.0 <= ratio < 1.0:
        raise ConfigError(f"mask ratio must be in [0, 1), got {ratio}")
    return ratio


def random_numbers(shape: tuple[int, ...], device: torch.device, generator: torch.Generator | None) -> Tensor:
    """Uniform numbers on ``device``, drawn where the generator lives (None: the device's global RNG)."""
    source = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=source).to(device)


def lowest_of_each(draws: Tensor, offsets: Tensor, wanted: Tensor) -> Tensor:
    """Bool [T]: of the numbers ``draws`` [T] of each cloud the ``wanted`` [B] lowest; ``offsets`` int64 [B + 1]."""
    cloud = torch.repeat_interleave(offsets.diff(), output_size=len(draws))
    order = draws.argsort(stable=True)
    order = order[cloud[order].argsort(stable=True)]  # by cloud, then by draw
    rank = torch.arange(len(draws), device=draws.device) - offsets[cloud]
    return torch.zeros_like(rank, dtype=torch.bool).index_copy_(0, order, rank < wanted[cloud])


@MODELS.register_module()
class RandomMasking(nn.Module):
    """Hides the same number of tokens in every sample, chosen uniformly and independently.

    Args:
        ratio: Share of masked tokens.
        exact: See :func:`masked_count`.
    """

    def __init__(self, ratio: float = 0.6, exact: Literal["masked", "visible"] = "masked") -> None:
        super().__init__()
        self.ratio = check_ratio(ratio)
        self.exact = exact

    def masked_tokens(self, tokens: Tokens) -> int:
        """How many tokens of a sample are hidden."""
        return masked_count(tokens.coordinates.shape[1], self.ratio, self.exact)

    def forward(self, tokens: Tokens, generator: torch.Generator | None = None) -> Mask:
        """Draw one mask per sample of dense tokens; randomness from ``generator`` or the global RNG."""
        batch_size, num_tokens = tokens.coordinates.shape[:2]
        order = random_numbers((batch_size, num_tokens), tokens.coordinates.device, generator).argsort(dim=1)
        return Mask.from_order(order, self.masked_tokens(tokens))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}, exact={self.exact!r}"
