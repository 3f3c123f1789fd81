"""Contrast with the keys of past batches as wrong answers (MoCo, He et al., arXiv 1911.05722)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.losses.contrastive import gather_rows, inner_products


class KeyQueue(nn.Module):
    """Unit vectors of past batches, the oldest overwritten first. It starts full of random ones.

    Args:
        dim: Length of a key D.
        length: Keys kept K, a multiple of the batch size over all processes.
        temperature: Divides similarities.

    Raises:
        ConfigError: No keys, or a temperature that is not positive.
    """

    def __init__(self, dim: int, length: int, temperature: float = 0.07) -> None:
        super().__init__()
        if length < 1 or temperature <= 0:
            raise ConfigError(
                f"KeyQueue: length must be at least 1 and temperature positive, got {length} and {temperature}"
            )
        self.temperature = temperature
        self.register_buffer("keys", F.normalize(torch.randn(dim, length), dim=0))  # [D, K]
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.int64))

    def contrast(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Cross entropy of finding each query's own key; both unit vectors [B, D]. Scalar."""
        scores = self._scores((queries * keys).sum(dim=1, keepdim=True), queries)
        return F.cross_entropy(scores, torch.zeros_like(scores[:, 0], dtype=torch.int64))

    def mixed_contrast(self, queries: Tensor, keys: Tensor, share: Tensor) -> Tensor:
        """Cross entropy of finding the two keys of mixed samples among those of batch and queue.

        Args:
            queries: Unit vectors [B, D], of samples b mixed with B - 1 - b.
            keys: Unit vectors [B, D], of the samples.
            share: [B], weight of sample b; the rest is that of B - 1 - b.
        """
        scores = self._scores(inner_products(queries, keys), queries)
        own = torch.arange(len(scores), device=scores.device)
        first, second = (F.cross_entropy(scores, answer, reduction="none") for answer in (own, own.flip(0)))
        return (share * first + (1 - share) * second).mean()

    def _scores(self, answers: Tensor, queries: Tensor) -> Tensor:
        # A copy of the queue: the next keys overwrite it before the backward pass needs it.
        return torch.cat((answers, inner_products(queries, self.keys.clone().T)), dim=1) / self.temperature

    @torch.no_grad()
    def push(self, keys: Tensor) -> None:
        """Take in the unit vectors [B, D] of all processes in the places of the oldest.

        Raises:
            ConfigError: K is no multiple of their number.
        """
        keys = gather_rows(keys)
        length = self.keys.shape[1]
        if length % len(keys):
            raise ConfigError(
                f"KeyQueue: {len(keys)} keys of a batch over all processes do not divide the queue's {length}; choose "
                "another batch size or queue length"
            )
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % length
        self.keys.index_copy_(1, places, keys.T.to(self.keys.dtype))
        self.pointer.copy_((self.pointer + len(keys)) % length)
