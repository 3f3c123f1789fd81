"""From latents to words: the masked-language head and the bag of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mae3d.errors import ConfigError
from mae3d.registry import MODELS

Scores = Callable[[Tensor], Tensor]
"""Rows [..., C] -> scores [..., V]."""


@MODELS.register_module()
class WordHead(nn.Module):
    """BERT's masked-language head: Linear, GELU, LayerNorm, then similarity to every word's embedding plus a bias.

    The embeddings are handed in with each call, so that head and tokenizer share one tensor under one name.

    Args:
        dim: Width C.
        vocab_size: Number V of words.
        norm_eps: Epsilon of LayerNorm.
    """

    def __init__(self, dim: int, vocab_size: int, norm_eps: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim, norm_eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        nn.init.normal_(self.dense.weight, std=0.02)
        nn.init.zeros_(self.dense.bias)

    def forward(self, rows: Tensor, embeddings: Tensor) -> Tensor:
        """Rows [..., C] and embeddings [V, C] -> scores [..., V]."""
        return F.linear(self.norm(F.gelu(self.dense(rows))), embeddings, self.bias)


def _full(scores: Tensor) -> Tensor:
    """Scores in float32, or in float64 where they are."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32))


def word_loss(scores: Scores, rows: Tensor, words: Tensor, chunk: int = 4096) -> Tensor:
    """Mean cross entropy of rows [M, C] against their words int64 [M], at least in float32; 0 for no row.

    Scores of at most ``chunk`` rows exist at a time, in the forward and the backward pass.
    """
    if not len(rows):
        return _full(rows).sum()  # 0, and still a function of the model
    if len(rows) <= chunk:
        return F.cross_entropy(_full(scores(rows)), words)

    def one(part: Tensor, own: Tensor) -> Tensor:
        return F.cross_entropy(_full(scores(part)), own, reduction="sum")

    parts = zip(rows.split(chunk), words.split(chunk))
    return sum(checkpoint(one, *part, use_reentrant=False) for part in parts) / len(rows)


def _groups(counts: list[int], most: int) -> list[list[int]]:
    """Neighbouring texts, by their numbers of tokens, in groups of at most ``most`` tokens or of one text."""
    groups: list[list[int]] = []
    for count in counts:
        if groups and sum(groups[-1]) + count <= most:
            groups[-1].append(count)
        else:
            groups.append([count])
    return groups


@MODELS.register_module()
class LexicalHead(nn.Module):
    """A text's bag of words, read from its latents by the masked-language head: a decoder without parameters.

    Args:
        pooling: Which scores count: "max", of each word the largest over all tokens but the first (DupMAE); "cls",
            those of the first token.
        weights: Of a word of the text: "length", 1 over the number of its tokens with repeats, so that the weights of
            a text with repeats add up to less than 1 (DupMAE's code); "unique", 1 over the number of different words.
        drop_ids: Words with an id up to this one are no targets; None keeps all. BERT's ids up to 998 are special or
            unused.
        chunk: Tokens whose scores exist at a time; those of one text always do.
    """

    def __init__(
        self,
        pooling: Literal["max", "cls"] = "max",
        weights: Literal["length", "unique"] = "length",
        drop_ids: int | None = None,
        chunk: int = 4096,
    ) -> None:
        super().__init__()
        if pooling not in ("max", "cls") or weights not in ("length", "unique"):
            raise ConfigError(
                'LexicalHead: pooling must be "max" or "cls" and weights "length" or "unique", got '
                f"{pooling!r} and {weights!r}"
            )
        self.pooling, self.weights, self.drop_ids, self.chunk = pooling, weights, drop_ids, chunk

    def pool(self, scores: Scores, latents: Tensor, offsets: Tensor) -> Tensor:
        """Scores of all words for each text [B, V], from packed latents [T, C]."""
        if self.pooling == "cls":
            return scores(latents[offsets[:-1]])

        def largest(rows: Tensor, counts: list[int]) -> Tensor:
            texts = scores(rows).split(counts)
            return torch.stack([text[1:].max(dim=0).values for text in texts])  # one position a word gets the gradient

        groups = _groups(offsets.diff().tolist(), self.chunk)
        rows = latents.split([sum(counts) for counts in groups])
        if not torch.is_grad_enabled():
            return torch.cat([largest(*part) for part in zip(rows, groups)])
        return torch.cat([checkpoint(largest, *part, use_reentrant=False) for part in zip(rows, groups)])

    def targets(self, tokens: Tensor, offsets: Tensor, vocab_size: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Weights of the words of packed texts [B, V]; the special tokens at both ends do not count."""
        counts = offsets.diff() - 2
        text = torch.repeat_interleave(offsets.diff(), output_size=len(tokens))
        inner = torch.ones_like(tokens, dtype=torch.bool)
        inner[offsets[:-1]] = inner[offsets[1:] - 1] = False
        if self.drop_ids is not None:
            inner = inner & (tokens > self.drop_ids)
        present = torch.zeros(len(counts), vocab_size, dtype=dtype, device=tokens.device)
        present[text[inner], tokens[inner]] = 1.0  # assigned, so repeats do not add up
        total = counts.unsqueeze(1) if self.weights == "length" else present.sum(1, keepdim=True)
        return present / total.clamp(min=1)

    def forward(self, scores: Scores, latents: Tensor, tokens: Tensor, offsets: Tensor) -> Tensor:
        """Mean over texts of the weighted negative log-probability of their words.

        Args:
            scores: The masked-language head.
            latents: [T, C], packed.
            tokens: int64 [T], the original ids.
            offsets: int64 [B + 1].
        """
        pooled = _full(self.pool(scores, latents, offsets))
        targets = self.targets(tokens, offsets, pooled.shape[1], pooled.dtype)
        return -(targets * pooled.log_softmax(dim=-1)).sum(dim=-1).mean()

    def extra_repr(self) -> str:
        """Shown by print(model)."""
        return f"pooling={self.pooling!r}, weights={self.weights!r}, drop_ids={self.drop_ids}"
