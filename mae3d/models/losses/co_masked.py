"""Agreement of two decodings at tokens that were hidden from both (Point-CMAE, arXiv 2407.05862, section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.registry import MODELS

Pairs = Literal["all", "same"]


@MODELS.register_module()
class CoMaskedCosine(nn.Module):
    """Mean of 1 - cosine between tokens of two decodings, at least in float32.

    Args:
        pairs: "all": every co-masked token of the first with every token of the second, visible ones too, as the
            published code does; "same": with itself alone, as the paper says.
    """

    def __init__(self, pairs: Pairs = "all") -> None:
        super().__init__()
        if pairs not in ("all", "same"):
            raise ConfigError(f'CoMaskedCosine: pairs must be "all" or "same", got {pairs!r}')
        self.pairs = pairs

    def forward(self, first: Tensor, second: Tensor, hidden: Tensor) -> Tensor:
        """Scalar in [0, 2].

        Args:
            first: [B, N, C], tokens of one decoding in their order.
            second: [B, N, C], of the other.
            hidden: bool [B, N], masked in both; without any the loss is 0.
        """
        with torch.autocast(first.device.type, enabled=False):
            wide = torch.promote_types(first.dtype, torch.float32)
            first, second = (F.normalize(x.to(wide), dim=-1) for x in (first, second))
            # The mean of the cosines to all tokens is the product with their mean direction.
            partner = second.mean(dim=1, keepdim=True) if self.pairs == "all" else second
            distance = 1 - (first * partner).sum(dim=-1)  # [B, N]
            return (distance * hidden).sum() / hidden.sum().clamp(min=1)

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"pairs={self.pairs!r}"
