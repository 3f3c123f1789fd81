"""The energies of masked patches of a spectrogram as the thing to predict."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.models.targets.pixels import PixelTarget
from mae3d.registry import MODELS
from mae3d.structures import Mask, PixelReconstruction, Tokens


@MODELS.register_module()
class SpectrogramTarget(PixelTarget):
    """As :class:`PixelTarget` with one channel; pictures have time from left to right and low frequencies below.

    Normalised log energies have a deviation of about one half: the picture's black and white are -1.25 and 1.25.
    """

    def __init__(self, patch_size: tuple[int, int] = (16, 16), normalize: str = "joint") -> None:
        super().__init__(patch_size, 1, normalize, mean=0.5, std=0.4)

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, prediction: Tensor, tokens: Tokens, mask: Mask) -> PixelReconstruction:
        """Pictures in [0, 1], [B, 1, frequency, time], see :meth:`PixelTarget.reconstruct`."""
        upright = super().reconstruct(inputs, prediction, tokens, mask)
        parts = (upright.original, upright.visible, upright.predicted)
        return PixelReconstruction(*(part.transpose(-2, -1).flip(-2) for part in parts))
