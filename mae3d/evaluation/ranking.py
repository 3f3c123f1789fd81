"""The best passages of many queries, in memory that does not grow with the number of passages."""

from __future__ import annotations

import torch
from torch import Tensor

from mae3d.errors import DataError


class BestPassages:
    """Rankings of Q queries, found one block of passages after the other.

    Args:
        queries: ``embedding`` [D] of each and, where texts have words, ``lexical`` [V]; where they hold ``namesake``,
            the passage of that index is left out of the query's ranking.
        deepest: Passages K of a ranking.
        most_scores: Scores that exist at a time: queries of a chunk times passages of a block.

    Attributes:
        order: int64 [Q, at most K], ``index`` of the best passages so far, the best one first; -1 is none.
        scores: float32, their products.
    """

    def __init__(self, queries: list[dict[str, Tensor]], deepest: int, most_scores: int = 1 << 27) -> None:
        self.embeddings = torch.stack([one["embedding"] for one in queries])
        self.words = torch.stack([one["lexical"].float() for one in queries]) if "lexical" in queries[0] else None
        self.namesakes = torch.stack([one["namesake"] for one in queries]) if "namesake" in queries[0] else None
        self.deepest, self.most_scores = deepest, most_scores
        self.order = torch.zeros(len(queries), 0, dtype=torch.int64)
        self.scores = torch.zeros(len(queries), 0)

    def add(self, passages: list[dict[str, Tensor]]) -> None:
        """Rank a block: ``embedding`` [D], ``index`` and, where texts have words, ``lexical_ids`` and their values."""
        index = torch.stack([one["index"] for one in passages])
        embeddings = torch.stack([one["embedding"] for one in passages])
        words = None if self.words is None else sparse_words(passages, self.words.shape[1])
        chunks = []
        for rows in torch.arange(len(self.embeddings)).split(max(1, self.most_scores // len(passages))):
            scores = self.embeddings[rows] @ embeddings.T
            if words is not None:
                scores += (words @ self.words[rows].T).T
            order = index.expand(len(rows), -1)
            if self.namesakes is not None:
                same = order == self.namesakes[rows].unsqueeze(1)
                scores, order = scores.masked_fill(same, -torch.inf), order.masked_fill(same, -1)
            scores = torch.cat((self.scores[rows], scores), dim=1)
            order = torch.cat((self.order[rows], order), dim=1)
            best = scores.topk(min(self.deepest, scores.shape[1]), dim=1)
            chunks.append((best.values, order.gather(1, best.indices)))
        self.scores, self.order = (torch.cat(parts) for parts in zip(*chunks))


def sparse_words(passages: list[dict[str, Tensor]], size: int) -> Tensor:
    """Sparse [P, size], the words of passages.

    Raises:
        DataError: A passage has none.
    """
    if not all("lexical_ids" in one for one in passages):
        number = next(int(one["index"]) for one in passages if "lexical_ids" not in one)
        raise DataError(
            f"BestPassages: queries have words (lexical), passage {number} has none (lexical_ids). Give role 1 to "
            "passages, so that LexicalBiEncoder represents them as such."
        )
    ids = torch.cat([one["lexical_ids"] for one in passages])
    rows = torch.repeat_interleave(torch.tensor([len(one["lexical_ids"]) for one in passages]))
    values = torch.cat([one["lexical_values"] for one in passages]).float()
    places = torch.stack((rows, ids))
    return torch.sparse_coo_tensor(places, values, (len(passages), size), check_invariants=True)
