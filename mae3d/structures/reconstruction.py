"""What a masked autoencoder saw and what it made of the rest, for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """Clouds of one batch, all in the frame and units of the input.

    Attributes:
        original: [B, N, 3], the input.
        visible: [B, V, 3], the points inside visible tokens.
        predicted: [B, M, 3], the points predicted for masked tokens.
    """

    original: Tensor
    visible: Tensor
    predicted: Tensor

    def to(self, device: torch.device | str) -> Reconstruction:
        """The same clouds on ``device``."""
        return Reconstruction(self.original.to(device), self.visible.to(device), self.predicted.to(device))
