"""Many blocks of one size, hidden or kept, on a grid of one or more axes (data2vec 2.0, arXiv 2212.07525)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.models.masking.grid import grid_of
from mae3d.models.masking.random import check_ratio, masked_count, random_numbers
from mae3d.models.tokenizers.patches import grid_coordinates
from mae3d.registry import MODELS
from mae3d.structures import Mask, Tokens


@MODELS.register_module()
class MultiBlockMasking(nn.Module):
    """Blocks around cells drawn at random are hidden, or with ``inverse`` are all that stays visible.

    Of N cells a share s is to lie in blocks: the ratio, or with ``inverse`` one minus it. int(N (s + adjust) / size^n)
    centres are drawn with replacement; what a block has beyond the border falls on the border's cells. Then cells are
    taken away from the blocks, or others added, at random until exactly int(N s) are left.

    Args:
        ratio: Share of masked tokens.
        size: Cells of a block along every axis.
        adjust: Added to the share when centres are counted, since blocks overlap.
        inverse: Blocks are kept, not hidden.
    """

    def __init__(self, ratio: float = 0.8, size: int = 3, adjust: float = 0.0, inverse: bool = False) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"MultiBlockMasking: size must be at least 1, got {size}")
        self.ratio = check_ratio(ratio)
        self.size, self.adjust, self.inverse = size, adjust, inverse

    def masked_tokens(self, tokens: Tokens) -> int:
        """How many tokens of a sample are hidden."""
        return masked_count(math.prod(grid_of(tokens, self)), self.ratio, "visible" if self.inverse else "masked")

    def forward(self, tokens: Tokens, generator: torch.Generator | None = None) -> Mask:
        """Draw one mask per sample of dense tokens; randomness from ``generator`` or the global RNG."""
        grid, rows, device = grid_of(tokens, self), len(tokens.coordinates), tokens.coordinates.device
        painted = self.paint(grid, rows, device, generator)
        draws = random_numbers(tuple(painted.shape), device, generator)
        order = (draws - painted if self.inverse else draws + painted).argsort(dim=1)
        return Mask.from_order(order, self.masked_tokens(tokens))

    def paint(
        self, grid: tuple[int, ...], rows: int, device: torch.device, generator: torch.Generator | None = None
    ) -> Tensor:
        """Union of the blocks before the count is corrected, float32 [rows, N], 1 inside."""
        count, axes = math.prod(grid), len(grid)
        share = 1 - self.ratio if self.inverse else self.ratio
        centres = int(count * ((share + self.adjust) / self.size**axes))
        cells = grid_coordinates(grid, device).long()  # [N, n]
        draws = random_numbers((rows, centres), device, generator)
        chosen = cells[(draws * count).long().clamp(max=count - 1)]  # [rows, centres, n]
        block = grid_coordinates((self.size,) * axes, device).long() - self.size // 2  # [size^n, n]
        limits = torch.tensor(grid, device=device)
        inside = (chosen.unsqueeze(2) + block).clamp(min=0).minimum(limits - 1)
        steps = torch.tensor([math.prod(grid[axis + 1 :]) for axis in range(axes)], device=device)
        index = (inside * steps).sum(dim=-1).flatten(1)
        return torch.zeros(rows, count, device=device).scatter_(1, index, 1.0)

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"ratio={self.ratio}, size={self.size}, adjust={self.adjust}, inverse={self.inverse}"


def draw_copies(masking: nn.Module, tokens: Tokens, copies: int, generator: torch.Generator | None = None) -> Mask:
    """Several masks of every sample: rows b * copies ... b * copies + copies - 1 are those of sample b.

    Args:
        masking: Any masking of dense tokens that looks at their places only.
        tokens: Of the samples, each once.
        copies: Masks per sample.
        generator: Source of randomness, None: the global RNG of the device.
    """
    places = tokens.coordinates.repeat_interleave(copies, dim=0)
    return masking(Tokens(places, places, places, grid=tokens.grid), generator)
