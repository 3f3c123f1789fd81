"""Retrieval of passages: reciprocal rank, discounted gain and recall, as trec_eval and MS MARCO define them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import torch
from mmengine.dist import is_distributed
from torch import Tensor

from mae3d.errors import ConfigError, DataError
from mae3d.evaluation.ranking import BestPassages
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

    Takes of every text ``embedding`` [D], ``role`` (0 a query, 1 a passage), ``index``, and of a query ``relevant``
    [R] (indices of the passages that answer it) and ``gains`` [R]. Texts may also have words, ``lexical`` [V] of a
    query and ``lexical_ids`` and ``lexical_values`` of a passage, whose products are added. Gives ``mrr@k``,
    ``ndcg@k`` and ``recall@k``, means over the queries that have a relevant passage.

    In one process passages are ranked as they come and then dropped: memory is that of the queries. Several processes
    hold different queries, so they keep their passages until all of them meet at the end.

    Args:
        mrr: Cut-offs k of the reciprocal rank.
        ndcg: Cut-offs of the discounted gain.
        recall: Cut-offs of recall.
        ignore_identical_ids: Leave a passage out of the ranking of the query that has the same name, which texts say by
            ``namesake``. BEIR's evaluator does: some of its sets ask with texts of the corpus. The passage still counts
            among the answers where it is one. Where names are running numbers (MS MARCO), equal ones mean nothing.
        block: Passages ranked at a time.
        most_scores: Scores that exist at a time: queries of a chunk times passages of a block.
        prefix, collect_device: See :class:`SampleMetric`.

    Raises:
        DataError: No query has an answer, there is no passage, or a query comes after ranking has begun.
    """

    default_prefix = "retrieval"
    fields = ("embedding", "role", "relevant", "gains", "index")
    optional = ("lexical", "lexical_ids", "lexical_values")

    def __init__(
        self,
        mrr: Sequence[int] = (10,),
        ndcg: Sequence[int] = (10,),
        recall: Sequence[int] = (50, 1000),
        *,
        ignore_identical_ids: bool = False,
        block: int = 1 << 13,
        most_scores: int = 1 << 27,
        prefix: str | None = None,
        collect_device: str = "cpu",
    ) -> None:
        super().__init__(prefix, collect_device)
        self.cuts = {"mrr": tuple(mrr), "ndcg": tuple(ndcg), "recall": tuple(recall)}
        cuts = [k for values in self.cuts.values() for k in values]
        if not cuts or min(cuts) < 1:
            raise ConfigError(f"RetrievalMetric: cut-offs must be positive, got {self.cuts}")
        if block < 1 or most_scores < 1:
            raise ConfigError(f"RetrievalMetric: block and most_scores must be positive, got {block} and {most_scores}")
        if ignore_identical_ids:
            self.fields = (*self.fields, "namesake")
        self.deepest = max(cuts)
        self.block, self.most_scores = block, most_scores
        self._best: BestPassages | None = None  # of the passages that are already dropped

    def process(self, data_batch: Any, data_samples: Sequence[Mapping[str, Tensor]] | None = None) -> None:
        """Take in one batch of texts; rank the passages once there is a block of them."""
        super().process(data_batch, data_samples)
        if is_distributed():
            return
        queries, passages = _by_role(self.results)
        if len(passages) >= self.block:
            self._best = self._ranked(queries, passages)
            self.results[:] = [{name: one[name] for name in ("role", "relevant", "gains")} for one in queries]

    def evaluate(self, size: int) -> dict[str, float]:
        """Results of all processes, as mmengine's evaluator asks for them; then start anew."""
        try:
            return super().evaluate(size)
        finally:
            self._best = None

    def summarize(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """All of it."""
        if self._best is not None and int(sample["role"]) == 0:
            raise DataError(
                f"RetrievalMetric: query {int(sample['index'])} comes after {self.block} passages, which are ranked "
                "already. Give all queries first (a loader that does not shuffle), or a block as large as the corpus."
            )
        return {**sample, "embedding": sample["embedding"].float()}

    def compute_metrics(self, results: list[dict[str, Tensor]]) -> dict[str, float]:
        """See the class."""
        queries, passages = _by_role(results)
        orders = self._ranked(queries, passages).order
        found: dict[str, list[float]] = {}
        for query, order in zip(_answered(queries), orders):
            for name, value in self._judge(query, order).items():
                found.setdefault(name, []).append(value)
        return {name: sum(values) / len(values) for name, values in found.items()}

    def _ranked(self, queries: list[dict[str, Tensor]], passages: list[dict[str, Tensor]]) -> BestPassages:
        """What was ranked before, and ``passages``."""
        answered = _answered(queries)
        if not answered or (self._best is None and not passages):
            raise DataError(
                f"RetrievalMetric: {len(answered)} queries with answers and {len(passages)} passages, expected some of "
                "both. Give all queries first (a loader that does not shuffle); an answer has a grade (gains) above 0."
            )
        best = BestPassages(answered, self.deepest, self.most_scores) if self._best is None else copy(self._best)
        for start in range(0, len(passages), self.block):
            best.add(passages[start : start + self.block])
        return best

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


def _by_role(texts: list[dict[str, Tensor]]) -> tuple[list[dict[str, Tensor]], list[dict[str, Tensor]]]:
    """Queries and passages."""
    return tuple([one for one in texts if int(one["role"]) == role] for role in (0, 1))


def _answered(queries: list[dict[str, Tensor]]) -> list[dict[str, Tensor]]:
    return [one for one in queries if (one["gains"] > 0).any()]
