"""Retrieval of passages: reciprocal rank, discounted gain and recall, as trec_eval and MS MARCO define them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mae3d.errors import ConfigError, DataError
from mae3d.evaluation.sample_metric import SampleMetric
from mae3d.registry import METRICS


def rank_gains(order: Tensor, relevant: Mapping[int, int]) -> Tensor:
    """Gain of each passage in a ranking: float64 [K], 0 for passages without a grade."""
    return torch.tensor([float(relevant.get(one, 0)) for one in order.tolist()], dtype=torch.float64)


def reciprocal_rank(gains: Tensor, k: int) -> float:
    """One over the place of the first relevant passage among the first ``k``, 0 where there is none."""
    places = (gains[:k] > 0).nonzero()
    return 1.0 / (int(places[0]) + 1) if len(places) else 0.0


def discounted_gain(gains: Tensor, ideal: Tensor, k: int) -> float:
    """Sum of gain / log2(1 + place) over the first ``k``, divided by that of the ideal ranking (nDCG)."""
    best = ideal.clamp(min=0).sort(descending=True).values

    def discounted(values: Tensor) -> Tensor:
        first = values[:k].clamp(min=0)
        return (first / (torch.arange(len(first), dtype=torch.float64) + 2).log2()).sum()

    total = discounted(best)
    return float(discounted(gains) / total) if total > 0 else 0.0


def recall(gains: Tensor, count: int, k: int) -> float:
    """Share of the ``count`` relevant passages among the first ``k``."""
    return float((gains[:k] > 0).sum()) / count if count else 0.0


@METRICS.register_module()
class RetrievalMetric(SampleMetric):
    """Ranks all passages for each query by the product of their representations.

    Takes of every text ``embedding`` [D], ``role`` (0 a query, 1 a passage), ``relevant`` [R] (numbers of the passages
    that answer a query; passages count in the order of their ``index``), ``gains`` [R] and ``index``; texts may also
    have words, ``lexical_ids`` and ``lexical_values``, whose products are added. Gives ``mrr@k``, ``ndcg@k`` and
    ``recall@k``, means over the queries that have a relevant passage.

    Args:
        mrr: Cut-offs k of the reciprocal rank.
        ndcg: Cut-offs of the discounted gain.
        recall: Cut-offs of recall.
        most_scores: Scores that exist at a time: queries of a chunk times passages.
        prefix, collect_device: See :class:`SampleMetric`.
    """

    default_prefix = "retrieval"
    fields = ("embedding", "role", "relevant", "gains", "index")
    optional = ("lexical_ids", "lexical_values")

    def __init__(
        self,
        mrr: Sequence[int] = (10,),
        ndcg: Sequence[int] = (10,),
        recall: Sequence[int] = (50, 1000),
        *,
        most_scores: int = 1 << 27,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(prefix, collect_device)
        self.cuts = {"mrr": tuple(mrr), "ndcg": tuple(ndcg), "recall": tuple(recall)}
        cuts = [k for values in self.cuts.values() for k in values]
        if not cuts or min(cuts) < 1:
            raise ConfigError(f"RetrievalMetric: cut-offs must be positive, got {self.cuts}")
        self.deepest = max(cuts)
        self.most_scores = most_scores

    def summarize(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """All of it."""
        return {**sample, "embedding": sample["embedding"].float()}

    def compute_metrics(self, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """See the class."""
        queries = [one for one in results if int(one["role"]) == 0 and (one["gains"] > 0).any()]
        passages = sorted((one for one in results if int(one["role"]) == 1), key=lambda one: int(one["index"]))
        if not queries or not passages:
            raise DataError(f"RetrievalMetric: {len(queries)} queries with answers and {len(passages)} passages")
        embeddings, words = torch.stack([one["embedding"] for one in passages]), _sparse_words(passages)
        found: dict[str, list[float]] = {}
        step = max(1, self.most_scores // len(passages))
        for start in range(0, len(queries), step):
            chunk = queries[start : start + step]
            scores = torch.stack([one["embedding"] for one in chunk]) @ embeddings.T
            if words is not None:
                scores += (words @ _dense_words(chunk, words.shape[1])).T
            best = scores.topk(min(self.deepest, len(passages)), dim=1).indices
            for query, order in zip(chunk, best):
                for name, value in self._judge(query, order).items():
                    found.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _judge(self, query: dict[str, Tensor], order: Tensor) -> dict[str, float]:
        grades = dict(zip(query["relevant"].tolist(), query["gains"].tolist()))
        gains = rank_gains(order, grades)
        ideal = query["gains"].double()
        count = int((ideal > 0).sum())
        return {
            **{f"mrr@{k}": reciprocal_rank(gains, k) for k in self.cuts["mrr"]},
            **{f"ndcg@{k}": discounted_gain(gains, ideal, k) for k in self.cuts["ndcg"]},
            **{f"recall@{k}": recall(gains, count, k) for k in self.cuts["recall"]},
        }


def _sparse_words(texts: list[dict[str, Tensor]]) -> Tensor | None:
    """Sparse [N, V], the words of texts, V one more than the highest of them; None where texts have none."""
    if "lexical_ids" not in texts[0]:
        return None
    ids = torch.cat([one["lexical_ids"] for one in texts])
    rows = torch.repeat_interleave(torch.tensor([len(one["lexical_ids"]) for one in texts]))
    values = torch.cat([one["lexical_values"] for one in texts]).float()
    size = (len(texts), int(ids.max()) + 1)
    return torch.sparse_coo_tensor(torch.stack((rows, ids)), values, size, check_invariants=True)


def _dense_words(texts: list[dict[str, Tensor]], size: int) -> Tensor:
    """[V, N], the words below ``size`` of texts."""
    words = torch.zeros(size, len(texts))
    for column, one in enumerate(texts):
        known = one["lexical_ids"] < size
        words[one["lexical_ids"][known], column] = one["lexical_values"][known].float()
    return words
