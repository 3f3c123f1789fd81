"""Normal and surface variation at the points of masked patches as the thing to predict (MaskFeat3D)."""

from __future__ import annotations

from torch import Tensor, nn

from mae3d.errors import ConfigError
from mae3d.registry import MODELS
from mae3d.structures import Mask, Tokens


@MODELS.register_module()
class SurfaceTarget(nn.Module):
    """Reads tokens whose content holds rows of the cloud: x y z, normal, variation, [B, G, K, 7].

    A query is a point of a masked patch; patches overlap, and a point in several of them is asked about several times.

    Args:
        query_points: Share of the queries that are kept, the first ones in the order of the patches.
    """

    dim = 4
    """Numbers that a prediction head gives per query: a normal and a variation."""

    def __init__(self, query_points: float = 1.0) -> None:
        super().__init__()
        if not 0 < query_points <= 1:
            raise ConfigError(f"SurfaceTarget: query_points must be in (0, 1], got {query_points}")
        self.query_points = query_points

    def queries(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Where to predict, [B, Q, 3], in the frame of the cloud."""
        return self._rows(tokens, mask)[..., :3]

    def forward(self, tokens: Tokens, mask: Mask) -> Tensor:
        """Target [B, Q, 4]: normal, variation."""
        return self._rows(tokens, mask)[..., 3:]

    def _rows(self, tokens: Tokens, mask: Mask) -> Tensor:
        rows = mask.gather_masked(tokens.content).flatten(1, 2)
        return rows[:, : int(rows.shape[1] * self.query_points)]
