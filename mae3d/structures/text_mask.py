"""What the encoder and the decoder of a text autoencoder see."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TextMask:
    """One draw of a text masking over B packed texts.

    Attributes:
        inputs: int64 [T], token ids as the encoder gets them, hidden ones replaced.
        masked: Bool [T], tokens that the encoder must predict.
        seen: Bool [B, L, L], L the length of the longest text: which tokens (last axis) each token of the decoder
            sees. False in rows and columns of padding.
    """

    inputs: Tensor
    masked: Tensor
    seen: Tensor

    def to(self, device: torch.device | str) -> TextMask:
        """The same draw on ``device``."""
        return TextMask(self.inputs.to(device), self.masked.to(device), self.seen.to(device))
