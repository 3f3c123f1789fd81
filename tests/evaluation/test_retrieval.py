"""Ranking and correlation metrics beside trec_eval and scipy."""

import math

import pytest
import torch

from mae3d.errors import ConfigError, DataError
from mae3d.evaluation.retrieval import RetrievalMetric, discounted_gain, reciprocal_rank
from mae3d.evaluation.similarity import SimilarityCorrelation, average_ranks, spearman


def retrieval_set(seed, queries=7, passages=40, dim=6):
    """Representations with graded answers, some queries without any positive one."""
    generator = torch.Generator().manual_seed(seed)
    texts = []
    for number in range(queries + passages):
        is_query = number < queries
        count = int(torch.randint(1, 6, (1,), generator=generator)) if is_query else 0
        gains = torch.randint(0, 4, (count,), generator=generator)
        if number == 2:
            gains.zero_()
        texts.append(
            {
                "embedding": torch.randn(dim, generator=generator),
                "role": torch.tensor(int(not is_query)),
                "relevant": queries + torch.randperm(passages, generator=generator)[:count],
                "gains": gains,
                "index": torch.tensor(number),
            }
        )
    return texts


def scores_of(texts):
    rows = [torch.stack([t["embedding"] for t in texts if int(t["role"]) == role]).double() for role in (0, 1)]
    return rows[0] @ rows[1].T


THEIRS = {
    "mrr@40": "recip_rank",
    **{f"ndcg@{k}": f"ndcg_cut_{k}" for k in (5, 10)},
    **{f"recall@{k}": f"recall_{k}" for k in (5, 20)},
}


def trec_eval(texts, left_out=None):
    """Its figures under our names; BEIR's evaluator takes the passage of the query's name out of the results first."""
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="the oracle pytrec_eval is not installed")
    grades, results = {}, {}
    for number, (text, row) in enumerate(zip(texts, scores_of(texts))):
        if (text["gains"] > 0).any():
            grades[str(number)] = {str(int(p)): int(g) for p, g in zip(text["relevant"], text["gains"])}
            results[str(number)] = {str(7 + p): float(value) for p, value in enumerate(row)}
            if left_out is not None:
                results[str(number)].pop(str(left_out[number]), None)
    found = pytrec_eval.RelevanceEvaluator(grades, {"recip_rank", "ndcg_cut.5,10", "recall.5,20"}).evaluate(results)
    assert len(found) == len(grades) < 7
    return {ours: sum(row[name] for row in found.values()) / len(found) for ours, name in THEIRS.items()}


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_trec_eval(seed):
    texts = retrieval_set(seed)
    metric = RetrievalMetric(mrr=(40,), ndcg=(5, 10), recall=(5, 20))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    metric.process([texts[number] for number in order[:20]])
    metric.process([texts[number] for number in order[20:]])
    assert metric.compute() == pytest.approx(trec_eval(texts), abs=1e-6)


@pytest.mark.parametrize("block", [6, 100])
def test_identical_ids_are_ignored_as_by_beir(block):
    texts = retrieval_set(3)
    best = (7 + scores_of(texts).argmax(dim=1)).tolist()
    left_out = [best[0], best[1], -1, int(texts[3]["relevant"][0]), best[4], 9, -1]
    texts[1].update(relevant=torch.tensor([best[1]]), gains=torch.tensor([2]))  # nothing else answers it
    for number, text in enumerate(texts):
        text["namesake"] = torch.tensor(left_out[number] if number < 7 else -1)
    cuts = {"mrr": (40,), "ndcg": (5, 10), "recall": (5, 20), "block": block}
    ignoring, plain = RetrievalMetric(**cuts, ignore_identical_ids=True), RetrievalMetric(**cuts)
    for metric in (ignoring, plain):
        for start in range(0, len(texts), 5):
            metric.process(texts[start : start + 5])
    assert ignoring.compute() == pytest.approx(trec_eval(texts, left_out), abs=1e-6)
    assert plain.compute() == pytest.approx(trec_eval(texts), abs=1e-6)
    assert ignoring.compute() != pytest.approx(plain.compute())
    with pytest.raises(DataError, match="must give namesake"):
        RetrievalMetric(ignore_identical_ids=True).process(retrieval_set(0))


def test_what_is_beyond_the_cut_does_not_count():
    gains = torch.tensor([0.0, 0.0, 2.0, 1.0])
    assert reciprocal_rank(gains, 3) == pytest.approx(1 / 3)
    assert reciprocal_rank(gains, 2) == 0.0
    best = 2 / math.log2(2) + 1 / math.log2(3)
    assert discounted_gain(gains, torch.tensor([1.0, 2.0]), 3) == pytest.approx(2 / math.log2(4) / best)


def with_words(texts, size=30, keep=5):
    """The same texts with words, and with one vector that holds them all: the full form."""
    words = 2 * torch.randn(len(texts), size, generator=torch.Generator().manual_seed(1))
    sparse, full = [], []
    for text, row in zip(texts, words):
        kept = row.topk(keep)
        if int(text["role"]):
            sparse.append({**text, "lexical_ids": kept.indices, "lexical_values": kept.values})
            row = torch.zeros(size).scatter(0, kept.indices, kept.values)
        else:
            sparse.append({**text, "lexical": row})
        full.append({**text, "embedding": torch.cat((text["embedding"], row))})
    return sparse, full


def judged(texts, batch=3, **options):
    metric = RetrievalMetric(mrr=(40,), recall=(3, 20), **options)
    for start in range(0, len(texts), batch):
        metric.process(texts[start : start + batch])
    return metric.evaluate(len(texts))


def test_words_add_to_the_product():
    texts = retrieval_set(5)
    sparse, full = with_words(texts)
    assert judged(sparse) == pytest.approx(judged(full))
    assert judged(sparse) != pytest.approx(judged(texts))


@pytest.mark.parametrize("block", [1, 8, 40])
@pytest.mark.parametrize("most_scores", [1, 100])
def test_ranking_in_blocks_is_the_ranking_of_all(block, most_scores):
    sparse, full = with_words(retrieval_set(6))
    assert judged(sparse, block=block, most_scores=most_scores) == pytest.approx(judged(full))


def test_memory_is_that_of_the_queries_and_a_block():
    sparse, _ = with_words(retrieval_set(7, passages=200))
    metric = RetrievalMetric(block=10)
    for start in range(0, len(sparse), 4):
        metric.process(sparse[start : start + 4])
        assert sum(int(one["role"]) for one in metric.results) < 10
    assert not any("lexical" in one or "embedding" in one for one in metric.results[:7])
    first = metric.compute()
    assert metric.compute() == first
    with pytest.raises(DataError, match="query 3 comes after 10 passages, which are ranked already"):
        metric.process([sparse[3]])
    assert {f"retrieval/{name}": value for name, value in first.items()} == metric.evaluate(len(sparse))
    metric.process(sparse[:7])  # a second evaluation starts anew
    assert len(metric.results) == 7


def test_words_on_one_side_only_are_named():
    sparse, _ = with_words(retrieval_set(7))
    for one in sparse:
        one.pop("lexical_ids", None)
    with pytest.raises(DataError, match=r"queries have words \(lexical\), passage 7 has none \(lexical_ids\)"):
        judged(sparse)


def test_bad_use_is_named():
    with pytest.raises(ConfigError, match="cut-offs must be positive"):
        RetrievalMetric(mrr=(0,))
    with pytest.raises(ConfigError, match="block and most_scores must be positive, got 0 and 5"):
        RetrievalMetric(block=0, most_scores=5)
    metric = RetrievalMetric()
    metric.process([text for text in retrieval_set(0) if int(text["role"]) == 0])
    with pytest.raises(DataError, match="6 queries with answers and 0 passages, expected some of both"):
        metric.compute()
    passages = [text for text in retrieval_set(0) if int(text["role"]) == 1]
    with pytest.raises(DataError, match=r"0 queries with answers and 40 passages.*Give all queries first"):
        RetrievalMetric(block=40).process(passages)
    with pytest.raises(DataError, match="must give role"):
        RetrievalMetric().process([{"embedding": torch.zeros(2)}])


def test_correlations_are_those_of_scipy():
    stats = pytest.importorskip("scipy.stats", reason="the oracle scipy is not installed")
    generator = torch.Generator().manual_seed(0)
    judged = torch.randint(0, 11, (300,), generator=generator) / 2  # many ties
    predicted = (judged + 3 * torch.randn(300, generator=generator)).mul(4).round() / 4
    metric = SimilarityCorrelation()
    metric.process([{"similarity": a, "score": b} for a, b in zip(predicted, judged)])
    found = metric.compute()
    judged, predicted = judged.double().numpy(), predicted.double().numpy()  # scipy sums in the type it is given
    assert found["spearman"] == pytest.approx(stats.spearmanr(predicted, judged).statistic, abs=1e-9)
    assert found["pearson"] == pytest.approx(stats.pearsonr(predicted, judged).statistic, abs=1e-9)
    assert average_ranks(torch.from_numpy(judged)).tolist() == stats.rankdata(judged).tolist()
    assert math.isnan(spearman(torch.ones(4), torch.arange(4)))
