"""Losses of detection heads, without reduction where the heads weigh them differently."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def heatmap_focal_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Penalty-reduced focal loss of CornerNet with alpha 2, beta 4, over the number of peaks; scalar.

    Args:
        logits: [B, classes, H, W] before the sigmoid. Probabilities are kept within [1e-4, 1 - 1e-4], so logits
            beyond that get no gradient, as published.
        target: The same shape, 1 at the centres.
    """
    probability = logits.sigmoid().clamp(1e-4, 1 - 1e-4)
    peak = target == 1
    positive = probability.log() * (1 - probability) ** 2
    negative = (1 - probability).log() * probability**2 * (1 - target) ** 4
    return -torch.where(peak, positive, negative).sum() / peak.sum().clamp(min=1)


def sigmoid_focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al. 2017) of each logit; ``target`` is 0 or 1 of the same shape."""
    probability = logits.sigmoid()
    weight = torch.where(target > 0, alpha * (1 - probability) ** gamma, (1 - alpha) * probability**gamma)
    return weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def smooth_l1(difference: Tensor, beta: float = 1 / 9) -> Tensor:
    """``d^2 / (2 beta)`` below ``beta``, ``|d| - beta / 2`` above, of each value."""
    return F.smooth_l1_loss(difference, torch.zeros_like(difference), beta=beta, reduction="none")


def known_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """Absolute difference of each value, 0 where the target is NaN (velocity that nobody knows)."""
    known = ~target.isnan()
    return (prediction - target.nan_to_num()).abs() * known
