"""Masks of tokens on a regular grid: shared along axes (tubes, frames), and blockwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.masking.random import check_ratio, masked_count, random_numbers
from mae3d.registry import MODELS
from mae3d.structures import Mask, Tokens


def grid_of(tokens: Tokens, masking: nn.Module) -> tuple[int, ...]:
    """The tokens' grid; raises ValueError where they have none."""
    if tokens.grid is None:
        raise ValueError(f"{type(masking).__name__} needs tokens on a regular grid, got tokens without one")
    return tokens.grid


@MODELS.register_module()
class SharedMasking(nn.Module):
    """One random mask over some axes, repeated along the others.

    On a grid (time, rows, columns), ``shared=(0,)`` hides the same places in all time slots: the tubes of VideoMAE.
    ``shared=(1, 2)`` hides whole time slots (the time-only masking of MAE-ST's ablation).

    Args:
        ratio: Share of masked cells of the axes that are not shared; int(n * ratio) of n are hidden.
        shared: Axes along which the mask is the same.
    """

    def __init__(self, ratio: float = 0.9, shared: Sequence[int] = (0,)) -> None:
        super().__init__()
        self.ratio = check_ratio(ratio)
        self.shared = tuple(shared)

    def masked_tokens(self, tokens: Tokens) -> int:
        """How many tokens of a sample are hidden."""
        sizes = [size for axis, size in enumerate(grid_of(tokens, self)) if axis not in self.shared]
        repeats = math.prod(tokens.grid) // math.prod(sizes)
        return masked_count(math.prod(sizes), self.ratio) * repeats

    def forward(self, tokens: Tokens, generator: torch.Generator | None = None) -> Mask:
        """Draw one mask per sample of dense tokens; randomness from ``generator`` or the global RNG."""
        grid = grid_of(tokens, self)
        batch_size = tokens.batch_size
        drawn = [1 if axis in self.shared else size for axis, size in enumerate(grid)]
        noise = random_numbers((batch_size, math.prod(drawn)), tokens.coordinates.device, generator)
        # Ranks differ within a sample, also where two random numbers are equal.
        rank = noise.argsort(dim=1).argsort(dim=1).view(batch_size, *drawn)
        order = rank.expand(batch_size, *grid).reshape(batch_size, -1).argsort(dim=1, stable=True)
        return Mask.from_order(order, self.masked_tokens(tokens))

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}, shared={self.shared}"


@MODELS.register_module()
class BlockwiseMasking(nn.Module):
    """Rectangles of random size and aspect ratio until enough of an image is hidden (BEiT, arXiv 2106.08254).

    The last rectangle that would hide too much is not taken, and the count is completed by single cells drawn at
    random, so that every sample hides int(N * ratio) tokens; BEiT leaves such samples with fewer.

    Args:
        ratio: Share of masked tokens.
        smallest: Cells of the smallest rectangle.
        aspect: Smallest ratio of sides; the largest is its inverse, and between them the logarithm is uniform.
        attempts: Draws of a rectangle before the rest is completed by single cells.
    """

    def __init__(self, ratio: float = 0.4, smallest: int = 16, aspect: float = 0.3, attempts: int = 10) -> None:
        super().__init__()
        if not 0 < aspect <= 1 or smallest < 1:
            raise ConfigError(f"BlockwiseMasking: aspect in (0, 1] and smallest >= 1, got {aspect} and {smallest}")
        self.ratio = check_ratio(ratio)
        self.smallest, self.aspect, self.attempts = smallest, aspect, attempts

    def masked_tokens(self, tokens: Tokens) -> int:
        """How many tokens of a sample are hidden."""
        return masked_count(math.prod(grid_of(tokens, self)), self.ratio)

    def forward(self, tokens: Tokens, generator: torch.Generator | None = None) -> Mask:
        """Draw one mask per sample of dense tokens; randomness from ``generator`` or the global RNG."""
        grid = grid_of(tokens, self)
        if len(grid) != 2:
            raise ValueError(f"BlockwiseMasking needs tokens on a grid (rows, columns), got a grid {grid}")
        wanted = self.masked_tokens(tokens)
        host = torch.device("cpu")
        rows = torch.stack([self._draw(grid, wanted, host, generator) for _ in range(tokens.batch_size)])
        return Mask.from_bool(rows.to(tokens.coordinates.device))

    def _draw(
        self, grid: tuple[int, int], wanted: int, device: torch.device, generator: torch.Generator | None
    ) -> Tensor:
        hidden = torch.zeros(grid, dtype=torch.bool)
        missing = wanted
        while missing > 0:
            taken = self._add_rectangle(hidden, missing, device, generator)
            if not taken:
                break
            missing = wanted - int(hidden.sum())
        free = (~hidden.flatten()).nonzero().flatten()
        single = random_numbers((len(free),), device, generator).argsort()[: max(missing, 0)]
        return hidden.flatten().index_fill(0, free[single], True)

    def _add_rectangle(
        self, hidden: Tensor, missing: int, device: torch.device, generator: torch.Generator | None
    ) -> bool:
        """Hide one more rectangle in place; False where no drawn one hides between 1 and ``missing`` new cells."""
        rows, columns = hidden.shape
        for area, aspect, top, left in random_numbers((self.attempts, 4), device, generator).tolist():
            area = self.smallest + area * max(0, missing - self.smallest)
            aspect = self.aspect ** (1 - 2 * aspect)
            height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if not (0 < height <= rows and 0 < width <= columns):
                continue
            top, left = int(top * (rows - height + 1)), int(left * (columns - width + 1))
            block = hidden[top : top + height, left : left + width]
            if 0 < int((~block).sum()) <= missing:
                block.fill_(True)
                return True
        return False

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}, smallest={self.smallest}, aspect={self.aspect}"
