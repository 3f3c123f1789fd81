"""Graph network over the centres of point patches (DGCNN, arXiv 1801.07829, as Point-BERT's dVAE has it)."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d import ops
from mae3d.errors import ConfigError
from mae3d.models.layers.edge_conv import CloudNorm, EdgeConv
from mae3d.registry import MODELS


@MODELS.register_module()
class DGCNN(nn.Module):
    """Four edge convolutions over one graph, their outputs joined into one linear layer.

    The graph joins every patch to those whose centres are nearest, itself among them.

    Args:
        in_dim: Width of the patches' features.
        out_dim: Width of the result, a multiple of 4.
        graph_dim: Width D, even, that a linear layer brings the features to; the convolutions give 2 D, 4 D, 4 D and
            8 D.
        neighbours: Edges of a patch k; all, where a cloud has fewer patches.

    Raises:
        ConfigError: Widths that do not divide into four groups, or no neighbours.
    """

    def __init__(self, in_dim: int, out_dim: int, graph_dim: int = 128, neighbours: int = 4) -> None:
        super().__init__()
        if out_dim % 4 or graph_dim % 2 or neighbours < 1:
            raise ConfigError(
                "DGCNN: out_dim must be a multiple of 4, graph_dim of 2 and neighbours at least 1, got "
                f"{out_dim}, {graph_dim} and {neighbours}"
            )
        widths = [graph_dim * factor for factor in (1, 2, 4, 4, 8)]
        self.embed_dim = out_dim
        self.neighbours = neighbours
        self.input = nn.Linear(in_dim, graph_dim)
        self.blocks = nn.ModuleList(EdgeConv(*pair, norm="group") for pair in itertools.pairwise(widths))
        self.output = nn.Sequential(nn.Linear(sum(widths[1:]), out_dim, bias=False), CloudNorm(4, out_dim))

    @property
    def depth(self) -> int:
        """Number of edge convolutions."""
        return len(self.blocks)

    def forward(self, features: Tensor, centers: Tensor) -> Tensor:
        """[B, G, in_dim] of patches at ``centers`` [B, G, 3] -> [B, G, out_dim]."""
        near = ops.knn(centers.float(), k=min(self.neighbours, centers.shape[1])).indices  # [B, G, k]
        x, levels = self.input(features), []
        for block in self.blocks:
            x = block(x, near)
            levels.append(x)
        return F.leaky_relu(self.output(torch.cat(levels, dim=-1)), 0.2)
