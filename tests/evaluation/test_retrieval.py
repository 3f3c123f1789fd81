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
                "relevant": torch.randperm(passages, generator=generator)[:count],
                "gains": gains,
                "index": torch.tensor(number),
            }
        )
    return texts


def scores_of(texts):
    rows = [torch.stack([t["embedding"] for t in texts if int(t["role"]) == role]).double() for role in (0, 1)]
    return rows[0] @ rows[1].T


@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_trec_eval(seed):
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="the oracle pytrec_eval is not installed")
    texts = retrieval_set(seed)
    metric = RetrievalMetric(mrr=(40,), ndcg=(5, 10), recall=(5, 20))
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    metric.process([texts[number] for number in order[:20]])
    metric.process([texts[number] for number in order[20:]])
    found = metric.compute()
    answered = {
        f"q{number}": {f"p{p}": int(g) for p, g in zip(t["relevant"], t["gains"])}
        for number, t in enumerate(texts)
        if (t["gains"] > 0).any()
    }
    run = {
        f"q{number}": {f"p{p}": float(value) for p, value in enumerate(row)}
        for number, row in enumerate(scores_of(texts))
    }
    names = {"recip_rank", "ndcg_cut.5,10", "recall.5,20"}
    theirs = pytrec_eval.RelevanceEvaluator(answered, names).evaluate({name: run[name] for name in answered})
    assert len(theirs) == len(answered) < 7
    for ours, name in (
        ("mrr@40", "recip_rank"),
        ("ndcg@5", "ndcg_cut_5"),
        ("ndcg@10", "ndcg_cut_10"),
        ("recall@5", "recall_5"),
        ("recall@20", "recall_20"),
    ):
        mean = sum(row[name] for row in theirs.values()) / len(theirs)
        assert found[ours] == pytest.approx(mean, abs=1e-6), ours


def test_what_is_beyond_the_cut_does_not_count():
    gains = torch.tensor([0.0, 0.0, 2.0, 1.0])
    assert reciprocal_rank(gains, 3) == pytest.approx(1 / 3)
    assert reciprocal_rank(gains, 2) == 0.0
    best = 2 / math.log2(2) + 1 / math.log2(3)
    assert discounted_gain(gains, torch.tensor([1.0, 2.0]), 3) == pytest.approx(2 / math.log2(4) / best)


def test_words_add_to_the_product():
    texts = retrieval_set(5)
    words = 2 * torch.randn(len(texts), 30, generator=torch.Generator().manual_seed(1))
    with_words = []
    for text, row in zip(texts, words):
        kept = row.topk(5) if int(text["role"]) else row.topk(30)
        with_words.append({**text, "lexical_ids": kept.indices, "lexical_values": kept.values})
    sparse = torch.zeros(40, 30)
    for row, own in zip(sparse, words[7:]):
        row[own.topk(5).indices] = own.topk(5).values
    widened = [
        {**text, "embedding": torch.cat((text["embedding"], part))}
        for text, part in zip(texts, torch.cat((words[:7], sparse)))
    ]
    metrics = []
    for rows in (with_words, widened, texts):
        metric = RetrievalMetric(recall=(3,), most_scores=100)
        metric.process(rows)
        metrics.append(metric.compute())
    assert metrics[0] == pytest.approx(metrics[1])
    assert metrics[0] != pytest.approx(metrics[2])


def test_bad_use_is_named():
    with pytest.raises(ConfigError, match="cut-offs must be positive"):
        RetrievalMetric(mrr=(0,))
    metric = RetrievalMetric()
    metric.process([text for text in retrieval_set(0) if int(text["role"]) == 0])
    with pytest.raises(DataError, match="6 queries with answers and 0 passages"):
        metric.compute()
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
