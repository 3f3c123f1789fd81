"""What a tokenizer hands to the rest of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tokens:
    """Tokens of a batch, dense or packed.

    Attributes:
        features: [B, N, C], or packed [T, C]. Where the tokenizer embeds each token on its own (it has ``embed``),
            these are what is still to be embedded, so that hidden tokens never are.
        coordinates: Where each token sits, [B, N, D] or [T, D], in the units of the input (points: metres or
            normalised units, images: patch indices).
        content: The raw input that each token stands for, [B, N, ...] or [T, ...]; targets are made from it.
            Point patches: [B, N, K, 3], relative to ``coordinates``, or whole rows of the cloud.
        offsets: int64 [B + 1] for packed tokens, None for dense ones.
        grid: Cells along every axis where dense tokens fill a regular grid in row-major order, (rows, columns) or
            (time, rows, columns); None for tokens without one.
        padding: bool [B, N], True at dense tokens that only fill a sample up to the longest; None: there are none.
    """

    features: Tensor
    coordinates: Tensor
    content: Tensor
    offsets: Tensor | None = None
    grid: tuple[int, ...] | None = None
    padding: Tensor | None = None

    @property
    def batch_size(self) -> int:
        """B."""
        return self.features.shape[0] if self.offsets is None else self.offsets.shape[0] - 1

    def to(self, device: torch.device | str) -> Tokens:
        """The same tokens on ``device``."""
        features, coordinates, content = (x.to(device) for x in (self.features, self.coordinates, self.content))
        offsets, padding = (None if x is None else x.to(device) for x in (self.offsets, self.padding))
        return Tokens(features, coordinates, content, offsets, self.grid, padding)
