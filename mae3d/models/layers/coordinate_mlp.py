"""Position embedding of continuous coordinates."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.registry import MODELS


@MODELS.register_module()
class CoordinateMlp(nn.Sequential):
    """Linear, GELU, Linear from coordinates to the width of a transformer (Point-BERT, Point-MAE).

    Args:
        embed_dim: Output width C.
        hidden_dim: Width between.
        coordinate_dim: Number of coordinates D.
    """

    def __init__(self, embed_dim: int, hidden_dim: int = 128, coordinate_dim: int = 3) -> None:
        super().__init__(nn.Linear(coordinate_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, embed_dim))

    def forward(self, coordinates: Tensor) -> Tensor:
        """[..., D] -> [..., C]."""
        return super().forward(coordinates)
