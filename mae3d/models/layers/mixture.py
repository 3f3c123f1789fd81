"""Mixture of experts: a feed-forward layer of which each token uses a part."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.layers.mlp import ACTIVATIONS


class MixtureMlp(nn.Module):
    """``num_experts`` MLPs; a router sends each token to the ``top_k`` most probable ones, no token is dropped.

    The output is the sum of the chosen experts' outputs, each times its probability (Fedus et al., Switch
    Transformers, arXiv 2101.03961). The router computes in float32.

    Args:
        dim: Width C of input and output.
        hidden_dim: Width H between.
        num_experts: E.
        top_k: Experts per token.
        activation: See :class:`mae3d.models.layers.Mlp`.
    """

    def __init__(
        self, dim: int, hidden_dim: int, num_experts: int = 4, top_k: int = 1, activation: str = "gelu"
    ) -> None:
        super().__init__()
        if not 1 <= top_k <= num_experts:
            raise ConfigError(f"MixtureMlp: needs 1 <= top_k <= num_experts, got {top_k} and {num_experts}")
        if activation not in ACTIVATIONS:
            raise ConfigError(f"MixtureMlp: activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
        self.num_experts = num_experts
        self.top_k = top_k
        self.router = nn.Linear(dim, num_experts)
        self.weight1 = nn.Parameter(torch.empty(num_experts, hidden_dim, dim))
        self.bias1 = nn.Parameter(torch.zeros(num_experts, hidden_dim))
        self.act = ACTIVATIONS[activation]()
        self.weight2 = nn.Parameter(torch.empty(num_experts, dim, hidden_dim))
        self.bias2 = nn.Parameter(torch.zeros(num_experts, dim))
        for weight in (*self.weight1, *self.weight2):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [..., C] -> the same shape, and how they were routed: float32 [2, E].

        Row 0 of the routing is the share of choices that fell on each expert, row 1 its mean probability.
        """
        rows = x.flatten(0, -2)  # [T, C]
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(rows.float(), self.router.weight.float(), self.router.bias.float())
        probability = logits.softmax(dim=-1)  # [T, E]
        chosen = probability.topk(self.top_k, dim=-1)
        expert = chosen.indices.flatten()  # [T k]
        counts = (expert[:, None] == torch.arange(self.num_experts, device=x.device)).sum(dim=0)
        order = expert.argsort(stable=True)
        token = order // self.top_k
        result = self._experts(rows[token], expert[order], counts)
        weighted = result * chosen.values.flatten()[order, None].to(result.dtype)
        output = torch.zeros_like(weighted[: len(rows)]).index_add(0, token, weighted)
        share = counts / max(1, expert.shape[0])
        routing = torch.stack((share.float(), probability.mean(dim=0)))
        return output.unflatten(0, x.shape[:-1]), routing

    def _experts(self, rows: Tensor, expert: Tensor, counts: Tensor) -> Tensor:
        """Rows sorted by ``expert`` [T], each through its expert; ``counts`` [E] rows for each.

        Eager code reads the counts back from the device and slices; a traced graph, whose shapes must not depend on
        values, sends every row through every expert and picks.
        """
        if not torch.compiler.is_compiling():
            parts = rows.split(counts.tolist())
            return torch.cat([self._expert(number, part) for number, part in enumerate(parts)])
        every = torch.stack([self._expert(number, rows) for number in range(self.num_experts)], dim=1)
        return every.gather(1, expert[:, None, None].expand(-1, 1, every.shape[2])).squeeze(1)

    def _expert(self, number: int, rows: Tensor) -> Tensor:
        hidden = self.act(F.linear(rows, self.weight1[number], self.bias1[number]))
        return F.linear(hidden, self.weight2[number], self.bias2[number])


def balance_loss(routing: Tensor) -> Tensor:
    """E sum_e share_e probability_e, averaged over layers: 1 where experts are used alike, E where one takes all.

    Args:
        routing: [layers, 2, E], of :class:`MixtureMlp`.
    """
    return routing.shape[-1] * routing.prod(dim=-2).sum(dim=-1).mean()
