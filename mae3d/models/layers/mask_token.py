"""A learned token in the place of hidden ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.structures import RaggedMask


class MaskToken(nn.Module):
    """Puts one learned token where tokens are hidden, and other tokens where the mask says so.

    Args:
        embed_dim: Width C.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, embed_dim), std=0.02))

    def forward(self, features: Tensor, mask: RaggedMask) -> Tensor:
        """[B, N, C] -> same shape; no gradient goes to a token through its copies elsewhere."""
        if mask.source is not None:
            copies = features.detach().flatten(0, 1)[mask.source.clamp(min=0)]
            features = torch.where((mask.source >= 0).unsqueeze(-1), copies, features)
        return torch.where(mask.masked.unsqueeze(-1), self.token.to(features.dtype), features)
