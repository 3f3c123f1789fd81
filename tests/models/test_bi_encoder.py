"""Contrastive fine-tuning, distillation, and texts represented by vectors and words."""

import functools

import pytest
import torch
from torch.nn import functional as F

from mae3d.checkpoints import load_pretrained
from mae3d.errors import ConfigError, DataError
from mae3d.models.heads import BiEncoder, bi_encoder_test, lexical_bi_encoder_test
from mae3d.models.heads.bi_encoder import TextVectors
from mae3d.models.losses import contrastive_loss, distillation_loss, gather_rows
from mae3d.models.methods import dup_mae_test
from tests.engine.runs import free_port, in_processes
from tests.models.batches import text_pair_batch, token_batch


def test_contrastive_loss_written_out():
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    passages = torch.randn(12, 8, generator=generator, dtype=torch.float64)
    expected = 0.0
    for q in range(4):
        scores = [float(queries[q] @ passages[p]) / 0.5 for p in range(12)]
        expected -= scores[3 * q] - torch.tensor(scores).double().logsumexp(0).item()
    assert contrastive_loss(queries @ passages.T, 0.5).item() == pytest.approx(expected / 4)
    with pytest.raises(DataError, match="7 passages are not the same number for each of 3 queries"):
        contrastive_loss(torch.zeros(3, 7))


def test_distillation_written_out():
    scores = torch.tensor([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]], dtype=torch.float64)
    teacher = torch.tensor([[2.0, 0.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    p, q = teacher.softmax(1), (scores / 2).softmax(1)
    divergence = (p * (p.log() - q.log())).sum()
    assert distillation_loss(scores, teacher, 2.0).item() == pytest.approx(divergence.item() / 6)
    assert distillation_loss(scores, teacher, 2.0, "query").item() == pytest.approx(divergence.item() / 2)
    assert distillation_loss(teacher, teacher).item() == pytest.approx(0.0)


def test_losses_of_the_model():
    batch = text_pair_batch(0)
    model = bi_encoder_test(distill=True, contrastive_weight=0.5).eval()
    queries = model.vectors(batch["query_tokens"], batch["query_offsets"]).dense
    passages = model.vectors(batch["passage_tokens"], batch["passage_offsets"]).dense
    losses = model(**batch, mode="loss")
    scores = queries @ passages.T
    own = torch.stack([scores[q, 2 * q : 2 * q + 2] for q in range(3)])
    expected = 0.5 * F.cross_entropy(scores / 4, torch.tensor([0, 2, 4]))
    torch.testing.assert_close(losses["loss_contrastive"], expected)
    torch.testing.assert_close(losses["loss_distill"], distillation_loss(own, batch["teacher_scores"], 4.0))
    assert losses["accuracy"] == (scores.argmax(1) == torch.tensor([0, 2, 4])).float().mean()
    torch.testing.assert_close(model(**batch, mode="tensor"), scores)


@pytest.mark.parametrize("build", [bi_encoder_test, lexical_bi_encoder_test])
def test_similarities_are_not_rounded_to_bfloat16(build):
    model, batch = build().eval(), text_pair_batch(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(**batch, mode="tensor")
        queries, passages = (model.vectors(batch[f"{s}_tokens"], batch[f"{s}_offsets"]) for s in ("query", "passage"))
    assert found.dtype == torch.float32
    wide = [TextVectors(*(None if part is None else part.double() for part in side)) for side in (queries, passages)]
    torch.testing.assert_close(found.double(), model.similarities(*wide), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_pooling_and_cosine(pooling):
    model = bi_encoder_test(pooling=pooling, similarity="cosine").eval()
    batch = token_batch(0)
    vectors = model.vectors(batch["tokens"], batch["offsets"]).dense
    latents = model.encoder(model.tokenizer(batch["tokens"], batch["offsets"]).features, offsets=batch["offsets"])
    for row, start, end in zip(vectors, (0, 12, 15), (12, 15, 35)):
        pooled = latents[start] if pooling == "cls" else latents[start:end].mean(0)
        torch.testing.assert_close(row, pooled / pooled.norm())
    pairs = model(**text_pair_batch(0), mode="predict")
    scores = model(**text_pair_batch(0), mode="tensor")
    for number, row in enumerate(pairs):
        torch.testing.assert_close(row["similarity"], scores[number, 2 * number])
        assert row["score"] == text_pair_batch(0)["score"][number]


def lexical(keep, **options):
    return lexical_bi_encoder_test(keep=keep, **options).eval()


def random_vectors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    queries = TextVectors(torch.randn(3, 8, generator=generator), torch.randn(3, 160, generator=generator))
    passages = TextVectors(torch.randn(5, 8, generator=generator), torch.randn(5, 160, generator=generator))
    return queries, passages


def test_words_of_the_passage_are_what_is_compared():
    queries, passages = random_vectors()
    scores = lexical(20).similarities(queries, passages)
    for q in range(3):
        for p in range(5):
            kept = sorted(range(160), key=lambda word: -passages.lexical[p, word])[:20]
            words = sum(float(queries.lexical[q, word] * passages.lexical[p, word]) for word in kept)
            assert scores[q, p].item() == pytest.approx(float(queries.dense[q] @ passages.dense[p]) + words, rel=1e-4)


@pytest.mark.parametrize("keep", [None, 160])
def test_all_words_are_the_dense_product(keep):
    queries, passages = random_vectors()
    expected = queries.dense @ passages.dense.T + queries.lexical @ passages.lexical.T
    torch.testing.assert_close(lexical(keep).similarities(queries, passages), expected)


def test_stored_texts_score_like_those_of_a_batch():
    model = lexical(20)
    batch = {**token_batch(0), "role": torch.tensor([0, 1, 1]), "relevant": torch.tensor([1, 0])}
    batch["namesake"] = torch.tensor([2, -1, -1])
    batch |= {"relevant_offsets": torch.tensor([0, 2, 2, 2]), "gains": torch.tensor([1, 2])}
    query, *passages = model(**batch, mode="predict")
    assert query["relevant"].tolist() == [1, 0]
    assert [int(row["namesake"]) for row in (query, *passages)] == [2, -1, -1]
    assert query["lexical"].shape == (160,)
    dense, words = model.vectors(batch["tokens"], batch["offsets"])
    expected = model.similarities(TextVectors(dense[:1], words[:1]), TextVectors(dense[1:], words[1:]))[0]
    for row, value in zip(passages, expected):
        assert len(row["lexical_ids"]) == 20
        score = query["embedding"] @ row["embedding"] + query["lexical"][row["lexical_ids"]] @ row["lexical_values"]
        torch.testing.assert_close(score, value)


def test_pre_trained_weights_are_taken_over(tmp_path):
    trained = dup_mae_test()
    torch.save({"state_dict": trained.state_dict()}, tmp_path / "epoch_1.pth")
    plain = bi_encoder_test()
    assert not load_pretrained(plain, tmp_path / "epoch_1.pth").fresh
    batch = token_batch(0)
    expected = trained.extract_features(batch["tokens"], batch["offsets"])
    assert torch.equal(plain.extract_features(batch["tokens"], batch["offsets"]), expected)
    assert load_pretrained(lexical_bi_encoder_test(), tmp_path / "epoch_1.pth").fresh == ("reduce.weight",)


def test_bad_input_is_named():
    with pytest.raises(DataError, match=r"needs the fields \['passage_tokens', 'passage_offsets'\]"):
        bi_encoder_test()(query_tokens=1, query_offsets=1, mode="loss")
    batch = text_pair_batch(0)
    del batch["teacher_scores"]
    with pytest.raises(DataError, match=r"needs teacher_scores \[3, 2\] in the batch, got none"):
        bi_encoder_test(distill=True)(**batch, mode="loss")
    with pytest.raises(ConfigError, match='pooling must be "cls" or "mean"'):
        BiEncoder(pooling="max")
    with pytest.raises(ConfigError, match='distill_reduction must be "element" or "query", got \'mean\''):
        bi_encoder_test(distill=True, distill_reduction="mean")
    with pytest.raises(ConfigError, match="temperature must be positive"):
        bi_encoder_test(temperature=0.0)
    with pytest.raises(ConfigError, match=r"keep must be in \[1, 160\]"):
        lexical_bi_encoder_test(keep=161)
    with pytest.raises(ConfigError, match='similarity must be "dot"'):
        lexical_bi_encoder_test(similarity="cosine")


def scores_of_a_step(rank, world, port, results):
    """One process's share of the batch; gradients averaged, as data parallelism does."""
    torch.manual_seed(0)
    weight = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    queries, passages = torch.randn(4, 6, dtype=torch.float64), torch.randn(8, 6, dtype=torch.float64)
    if world > 1:
        torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
    q, p = queries.chunk(world)[rank] @ weight, passages.chunk(world)[rank] @ weight
    loss = contrastive_loss(gather_rows(q) @ gather_rows(p).T)
    loss.backward()
    gradient = weight.grad
    if world > 1:
        torch.distributed.all_reduce(gradient)
        gradient = gradient / world
        torch.distributed.destroy_process_group()
    if rank == 0:
        torch.save((loss.detach(), gradient), results)


def test_negatives_of_two_processes_are_those_of_one(tmp_path):
    in_processes(functools.partial(scores_of_a_step, results=tmp_path / "two.pt"), 2, free_port())
    scores_of_a_step(0, 1, 0, tmp_path / "one.pt")
    two, one = (torch.load(tmp_path / name) for name in ("two.pt", "one.pt"))
    for first, second in zip(two, one):
        torch.testing.assert_close(first, second)
