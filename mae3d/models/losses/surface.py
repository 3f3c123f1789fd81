"""Losses between predicted and true surface normals and variations (MaskFeat3D, arXiv 2304.06911, section 3.3)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.registry import MODELS

NormalLoss = Literal["cos", "abs_cos", "mse", "mse_only"]
LENGTH_WEIGHT = 0.1


class SurfaceLosses(NamedTuple):
    """Scalars."""

    normal: Tensor
    variation: Tensor


@MODELS.register_module()
class SurfaceLoss(nn.Module):
    """Means over all queries, at least in float32; the variation costs its absolute difference.

    Args:
        normal_loss: "cos": 1 - cosine; "abs_cos": 1 - |cosine|, which does not see on which side of the surface a
            normal stands; "mse": mean squared difference; each plus 0.1 times the squared deviation of the predicted
            length from 1. "mse_only": without that.
    """

    def __init__(self, normal_loss: NormalLoss = "cos") -> None:
        super().__init__()
        if normal_loss not in NormalLoss.__args__:
            raise ConfigError(f"SurfaceLoss: normal_loss must be one of {NormalLoss.__args__}, got {normal_loss!r}")
        self.normal_loss = normal_loss

    def forward(self, prediction: Tensor, target: Tensor) -> SurfaceLosses:
        """Losses of [..., 4] and [..., 4]: normal, variation."""
        with torch.autocast(prediction.device.type, enabled=False):
            prediction, target = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (prediction, target))
            (normal, variation), (true_normal, true_variation) = (x.split((3, 1), dim=-1) for x in (prediction, target))
            return SurfaceLosses(self._of_normals(normal, true_normal), (variation - true_variation).abs().mean())

    def _of_normals(self, prediction: Tensor, target: Tensor) -> Tensor:
        squared = (prediction - target).square().mean()
        if self.normal_loss == "mse_only":
            return squared
        length = LENGTH_WEIGHT * (prediction.norm(dim=-1) - 1).square().mean()
        if self.normal_loss == "mse":
            return length + squared
        cosine = F.cosine_similarity(prediction, target, dim=-1)
        return length + (1 - (cosine.abs() if self.normal_loss == "abs_cos" else cosine)).mean()

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"normal_loss={self.normal_loss!r}"
