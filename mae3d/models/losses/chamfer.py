"""Chamfer losses between sets of points."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from mae3d import ops
from mae3d.errors import ConfigError
from mae3d.registry import MODELS


@MODELS.register_module()
class ChamferLoss(nn.Module):
    """Mean distance of every point to the nearest point of the other set, both ways.

    Args:
        form: "cdl2": mean of squared distances a -> b plus the same b -> a. "cdl1": mean of distances, half of the
            sum of both ways; its gradient at distance 0 is taken as 0.
    """

    def __init__(self, form: Literal["cdl1", "cdl2"] = "cdl2") -> None:
        super().__init__()
        if form not in ("cdl1", "cdl2"):
            raise ConfigError(f'ChamferLoss: form must be "cdl1" or "cdl2", got {form!r}')
        self.form = form

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Scalar loss of two batches of sets [..., K, 3] and [..., L, 3]; all points weigh the same."""
        with torch.autocast(prediction.device.type, enabled=False):
            a, b = prediction.flatten(0, -3), target.flatten(0, -3)
            distance = ops.chamfer_distance(a, b, squared=self.form == "cdl2")  # at least in float32
            total = distance.a_to_b.mean() + distance.b_to_a.mean()
            return total if self.form == "cdl2" else total / 2

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"form={self.form!r}"
