"""The coordinates inside masked point patches as the thing to predict."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mae3d.registry import MODELS
from mae3d.structures import Mask, Reconstruction, Tokens


@MODELS.register_module()
class PointPatchTarget(nn.Module):
    """Points of each masked patch relative to its centre, unscaled.

    Args:
        group_size: Points per patch K.
    """

    def __init__(self, group_size: int = 32) -> None:
        super().__init__()
        self.group_size = group_size

    @property
    def dim(self) -> int:
        """Numbers that a prediction head gives per token: K points times x, y, z."""
        return 3 * self.group_size

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Target [B, M, K, 3]."""
        return mask.gather_masked(tokens.content)

    def shape(self, prediction: Tensor) -> Tensor:
        """Output of the head [B, M, 3 K] -> points [B, M, K, 3]; each row is x, y, z of point 0, of point 1, ..."""
        return prediction.unflatten(-1, (self.group_size, 3))

    @torch.no_grad()
    def reconstruct(self, inputs: Tensor, prediction: Tensor, tokens: Tokens, mask: Mask) -> Reconstruction:
        """Clouds in the frame of the input: points inside visible patches, and those predicted for masked ones."""
        centers = tokens.coordinates.unsqueeze(2)  # [B, N, 1, 3]
        visible = mask.gather_visible(tokens.content + centers).flatten(1, 2)
        predicted = (prediction + mask.gather_masked(centers)).flatten(1, 2)
        return Reconstruction(inputs[..., :3], visible, predicted)
