"""Edge convolution over the neighbours of each point (DGCNN, Wang et al., arXiv 1801.07829)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.ops.gather_points import gather_points


class CloudNorm(nn.GroupNorm):
    """GroupNorm with channels last: statistics of a group of channels over all places of one cloud."""

    def forward(self, x: Tensor) -> Tensor:
        """[R, ..., D] -> same shape."""
        return super().forward(x.movedim(-1, 1)).movedim(1, -1)


class EdgeConv(nn.Module):
    """``max over neighbours j of activation(norm(W [x_j - x_i, x_i]))``, without bias.

    Args:
        in_channels: C.
        out_channels: D.
        norm: "batch" with ReLU (PV-RCNN++ and Graph R-CNN), or "group" (four groups of channels, of each cloud on its
            own) with a leaky ReLU of slope 0.2 (Point-BERT).

    Raises:
        ConfigError: Unknown ``norm``.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: Literal["batch", "group"] = "batch") -> None:
        super().__init__()
        if norm not in ("batch", "group"):
            raise ConfigError(f'EdgeConv: norm must be "batch" or "group", got {norm!r}')
        self.linear = nn.Linear(2 * in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels) if norm == "batch" else CloudNorm(4, out_channels)
        self.slope = 0.0 if norm == "batch" else 0.2

    def forward(self, x: Tensor, neighbours: Tensor, source: Tensor | None = None) -> Tensor:
        """Features of the points [R, K, D] from [R, K, C].

        Args:
            x: [R, K, C].
            neighbours: int64 [R, K, k], places in the same cloud of ``source``.
            source: [R, S, C], where the neighbours are; None: ``x``.
        """
        difference, own = self.linear.weight.chunk(2, dim=1)
        # W [x_j - x_i, x_i] has one part of each point: nothing of width 2 C is made for every pair.
        far = F.linear(x if source is None else source, difference)
        pairs = gather_points(far, neighbours) + F.linear(x, own - difference).unsqueeze(2)  # [R, K, k, D]
        flat = pairs if isinstance(self.norm, CloudNorm) else pairs.flatten(0, 2)  # also of SyncBatchNorm
        return F.leaky_relu(self.norm(flat), self.slope).view(pairs.shape).amax(dim=2)
