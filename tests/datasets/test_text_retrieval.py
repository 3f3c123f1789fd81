"""Text: scored pairs, queries with passages, retrieval sets, batches."""

import pytest
import torch

pytest.importorskip("tokenizers", reason="the extra text is not installed")

from mae3d.datasets.text import QueryPassages, RetrievalTexts, SentencePairs, TextDocuments, collate_tokens
from mae3d.errors import DataError
from tests.datasets.text_files import CLS, SEP, names, write_lines


def test_scored_pairs(tmp_path, vocabulary):
    path = write_lines(tmp_path / "pairs.csv", ["a plane,the plane,5.0", '"a, flute",play,0.5', "play,play,4"])
    dataset = SentencePairs(path, vocabulary)
    batch = collate_tokens([dataset[number] for number in range(3)])
    assert batch["query_offsets"].tolist() == [0, 4, 9, 12]
    assert batch["passage_offsets"].tolist() == [0, 4, 7, 10]
    assert batch["score"].tolist() == [5.0, 0.5, 4.0]
    good = SentencePairs(path, vocabulary, min_score=4)
    assert len(good) == 2
    assert good.sample_name(1).endswith("pairs.csv[2]")
    with pytest.raises(DataError, match="none of the 3 pairs has a score of at least 6"):
        SentencePairs(path, vocabulary, min_score=6)
    with pytest.raises(DataError, match=r"bad.csv\[0\]: columns \(0, 1, 2\)"):
        SentencePairs(write_lines(tmp_path / "bad.csv", ["a,b"]), vocabulary)


def test_queries_with_passages(tmp_path, vocabulary, tokenizer):
    row = {"query": "a plane", "pos": ["the plane", "plane"], "neg": ["play", "flute", "a flute"]}
    row |= {"pos_scores": [9.0, 8.0], "neg_scores": [1, 2, 3]}
    path = write_lines(tmp_path / "a.jsonl", [row, {"query": "play", "pos": "a play", "neg": ["the"]}])
    dataset = QueryPassages(path, vocabulary, group_size=4, teacher_fields=("pos_scores", "neg_scores"))
    scores = dict(zip((*row["pos"], *row["neg"]), (*row["pos_scores"], *row["neg_scores"])))
    seen = set()
    for epoch in range(8):
        dataset.set_epoch(epoch)
        sample = dataset[0]
        texts = [" ".join(names(tokenizer, tokens[1:-1])) for tokens in sample["passage_tokens"]]
        assert texts[0] in row["pos"]
        assert sorted(texts[1:]) == sorted(row["neg"])
        assert sample["teacher_scores"].tolist() == [scores[text] for text in texts]
        seen.add(texts[0])
    assert seen == set(row["pos"])
    plain = QueryPassages(path, vocabulary, group_size=3)
    batch = collate_tokens([plain[0], plain[1]])
    assert len(batch["passage_offsets"]) == 7
    assert len(batch["query_offsets"]) == 3
    with pytest.raises(DataError, match="do not give a score for each passage"):
        dataset[1]
    assert len(QueryPassages(path, vocabulary, group_size=1)[0]["passage_tokens"]) == 1
    bad = write_lines(tmp_path / "b.jsonl", [{"query": "a", "pos": "a", "neg": []}])
    with pytest.raises(DataError, match="group_size=1 trains without negatives"):
        QueryPassages(bad, vocabulary)[0]


@pytest.fixture
def retrieval(tmp_path):
    passages = [{"_id": "p1", "title": "A", "text": "plane"}, {"_id": "p2", "text": "flute"}, {"_id": "x", "text": "e"}]
    write_lines(tmp_path / "corpus.jsonl", passages)
    write_lines(tmp_path / "queries.jsonl", [{"_id": str(n), "text": "play a plane"} for n in range(3)])
    (tmp_path / "qrels").mkdir()
    write_lines(tmp_path / "qrels" / "test.tsv", ["query-id\tcorpus-id\tscore", "2\tp2\t2", "2\tp1\t1", "0\tx\t1"])
    return tmp_path


def test_retrieval_sets(retrieval, vocabulary, tokenizer):
    dataset = RetrievalTexts(retrieval, vocabulary, query_length=4)
    assert (len(dataset), dataset.num_queries) == (5, 2)
    batch = collate_tokens([dataset[number] for number in range(5)])
    assert batch["role"].tolist() == [0, 0, 1, 1, 1]
    assert batch["relevant_offsets"].tolist() == [0, 1, 3, 3, 3, 3]
    assert batch["relevant"].tolist() == [2 + 2, 2 + 1, 2 + 0]  # behind two queries
    assert batch["gains"].tolist() == [1, 2, 1]
    assert batch["namesake"].tolist() == [-1] * 5
    assert names(tokenizer, dataset[2]["tokens"]) == ["[CLS]", "a", "plane", "[SEP]"]
    assert len(dataset[0]["tokens"]) == 4
    assert dataset.sample_name(1).endswith("queries.jsonl[2]")
    write_lines(retrieval / "qrels" / "trec.tsv", ["2 0 p2 2", "0 0 x 1"])
    assert RetrievalTexts(retrieval, vocabulary, "trec").chosen == [(0, [2], [1]), (2, [1], [2])]


def test_queries_know_the_passage_of_their_name(retrieval, vocabulary):
    passages = [{"_id": name, "text": "a"} for name in ("p1", "2", "p2", "x")]
    write_lines(retrieval / "corpus.jsonl", passages)
    dataset = RetrievalTexts(retrieval, vocabulary)
    assert [int(dataset[number]["namesake"]) for number in range(6)] == [-1, 2 + 1, -1, -1, -1, -1]


def test_a_passage_without_text_keeps_its_place(retrieval, vocabulary):
    write_lines(retrieval / "corpus.jsonl", [{"_id": "p1", "text": " "}, {"_id": "p2"}, {"_id": "x", "text": "e"}])
    dataset = RetrievalTexts(retrieval, vocabulary)
    assert [dataset[number]["tokens"].tolist() for number in (2, 3)] == [[CLS, SEP]] * 2
    write_lines(retrieval / "queries.jsonl", [{"_id": "0", "text": ""}, {"_id": "2", "text": "a"}])
    with pytest.raises(DataError, match=r"queries.jsonl\[0\]: the text '' holds no token"):
        RetrievalTexts(retrieval, vocabulary)[0]


def test_texts_without_a_name(retrieval, vocabulary):
    write_lines(retrieval / "queries.jsonl", [{"_id": "0", "text": "a"}, {"text": "a"}])
    with pytest.raises(DataError, match=r"queries.jsonl\[1\]: lacks the field '_id'"):
        RetrievalTexts(retrieval, vocabulary)
    (retrieval / "queries.jsonl").write_bytes(b'{"_id": "0"}\n\n{"_id": "\xff"}\n')
    with pytest.raises(DataError, match=r"queries.jsonl\[1\]: not UTF-8 text"):
        RetrievalTexts(retrieval, vocabulary)


@pytest.mark.parametrize(
    ("line", "message"),
    [("2\tp9\t1", r"1 names are in no corpus or query file, e.g. \['p9'\]"), ("2\tp1", "expected query, passage")],
)
def test_bad_relevance(retrieval, vocabulary, line, message):
    write_lines(retrieval / "qrels" / "test.tsv", ["0\tx\t1", line])
    with pytest.raises(DataError, match=message):
        RetrievalTexts(retrieval, vocabulary)


def test_batches_are_packed(tmp_path, vocabulary):
    path = write_lines(tmp_path / "a.txt", ["a plane", "play", "the flute ."])
    dataset = TextDocuments(path, vocabulary)
    batch = collate_tokens([dataset[number] for number in range(3)])
    assert batch["offsets"].tolist() == [0, 4, 7, 12]
    assert batch["tokens"].dtype == batch["offsets"].dtype == torch.int64
    assert batch["tokens"][batch["offsets"][:-1]].tolist() == [CLS] * 3
    assert len(batch["words"]) == 12
    assert batch["index"].tolist() == [0, 1, 2]
