"""What a masked autoencoder of images or clips saw and what it made of the rest, for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelReconstruction:
    """Pictures of one batch, each [B, C, rows, columns] or [B, C, frames, rows, columns], values in [0, 1].

    Attributes:
        original: The input (of clips the frames that are predicted).
        visible: The same with masked patches in grey.
        predicted: Visible patches as they are, masked ones as predicted.
    """

    original: Tensor
    visible: Tensor
    predicted: Tensor

    def to(self, device: torch.device | str) -> PixelReconstruction:
        """The same pictures on ``device``."""
        return PixelReconstruction(self.original.to(device), self.visible.to(device), self.predicted.to(device))
