"""What a masked autoencoder saw and what it made of the rest, for pictures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """Clouds of one batch, all in the frame and units of the input; lists where clouds differ in size.

    Attributes:
        original: [B, N, 3], the input.
        visible: [B, V, 3], the points inside visible tokens.
        predicted: [B, M, 3], the points predicted for masked tokens.
    """

    original: Tensor | list[Tensor]
    visible: Tensor | list[Tensor]
    predicted: Tensor | list[Tensor]

    def to(self, device: torch.device | str) -> Reconstruction:
        """The same clouds on ``device``."""

        def move(clouds: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
            return clouds.to(device) if isinstance(clouds, Tensor) else [cloud.to(device) for cloud in clouds]

        return Reconstruction(move(self.original), move(self.visible), move(self.predicted))
