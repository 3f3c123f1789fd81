"""Mean squared error."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.registry import MODELS


@MODELS.register_module()
class SquaredError(nn.Module):
    """Mean of squared differences over all values of all masked tokens, in float32.

    Every sample hides the same number of tokens, so this equals the published ``sum(e * mask) / sum(mask)``.
    """

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of two tensors of one shape."""
        with torch.autocast(prediction.device.type, enabled=False):
            return (prediction.float() - target.float()).square().mean()
