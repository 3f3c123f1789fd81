"""Edge convolution over the neighbours of each point (DGCNN, Wang et al., arXiv 1801.07829)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.ops.gather_points import gather_points


class EdgeConv(nn.Module):
    """``max over neighbours j of ReLU(norm(W [x_j - x_i, x_i]))``, without bias.

    Args:
        in_channels: C.
        out_channels: D.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * in_channels, out_channels, bias=False)
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor, neighbours: Tensor) -> Tensor:
        """Features of the points [R, K, D] from [R, K, C].

        Args:
            x: [R, K, C].
            neighbours: int64 [R, K, k], places in the same cloud.
        """
        difference, own = self.linear.weight.chunk(2, dim=1)
        # W [x_j - x_i, x_i] has one part of each point: nothing of width 2 C is made for every pair.
        pairs = gather_points(F.linear(x, difference), neighbours) + F.linear(x, own - difference).unsqueeze(2)
        return self.norm(pairs.flatten(0, 2)).relu().view(pairs.shape).amax(dim=2)
