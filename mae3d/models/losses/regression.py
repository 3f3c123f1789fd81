"""Summed regression error, to be divided by a count that the caller knows (data2vec 2.0, arXiv 2212.07525)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.registry import MODELS


@MODELS.register_module()
class SummedRegression(nn.Module):
    """Sum over all values of the squared or smooth absolute difference, in float32.

    Args:
        scale: Factor; None: 1 / sqrt(C) of the last axis.
        beta: 0 for the squared difference d^2; else smooth L1, d^2 / (2 beta) below ``beta`` and |d| - beta / 2 above.
    """

    def __init__(self, scale: float | None = None, beta: float = 0.0) -> None:
        super().__init__()
        self.scale = scale
        self.beta = beta

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scalar of two tensors [..., C] of one shape."""
        scale = prediction.shape[-1] ** -0.5 if self.scale is None else self.scale
        with torch.autocast(prediction.device.type, enabled=False):
            prediction, target = (x if x.dtype == torch.float64 else x.float() for x in (prediction, target))
            if self.beta:
                return scale * F.smooth_l1_loss(prediction, target, reduction="sum", beta=self.beta)
            return scale * (prediction - target).square().sum()
