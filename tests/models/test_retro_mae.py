"""RetroMAE and DupMAE: the official numbers, and what the decoder may and may not see."""

import random
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError, DataError
from mae3d.models.decoders import EnhancedDecoder, LexicalHead, word_loss
from mae3d.models.layers import Packing
from mae3d.models.methods import DupMAE, RetroMAE, dup_mae_test, retro_mae_base, retro_mae_test
from mae3d.models.methods.bert import encode
from mae3d.structures import TextMask
from tests.models.batches import token_batch
from tests.oracles import retro_mae as oracle


def model_of(state, kind=RetroMAE, **options):
    model = kind(vocab_size=160, embed_dim=32, depth=2, num_heads=2, max_length=24, **options).double()
    model.load_state_dict(convert("retro-mae", state).state)
    return model.eval()


@pytest.fixture(scope="module")
def state():
    return oracle.random_state()


def drawn(model, batch, seed=0):
    packing = Packing.from_offsets(batch["offsets"])
    return model.masking(batch["tokens"], batch["words"], packing, torch.Generator().manual_seed(seed))


def losses(model, batch, mask):
    return model.compute_loss(batch["tokens"], batch["offsets"], mask=mask)


def apart(batch, mask):
    """Texts, corrupted texts, masks and matrices, as lists over the batch."""
    spans = list(pairwise(batch["offsets"].tolist()))
    rows = [[part[start:end] for start, end in spans] for part in (batch["tokens"], mask.inputs, mask.masked)]
    return *rows, [seen[: end - start, : end - start] for seen, (start, end) in zip(mask.seen, spans)]


@pytest.mark.parametrize(
    ("kind", "query", "bag"), [(RetroMAE, "raw_pos", 0.0), (RetroMAE, "bert_embed", 0.0), (DupMAE, "bert_embed", 0.1)]
)
@pytest.mark.parametrize("chunk", [3, 4096])
def test_losses_and_gradients_are_the_official_ones(state, kind, query, bag, chunk):
    model = model_of(state, kind, query_embedding=query, chunk=chunk)
    batch = token_batch(1)
    mask = drawn(model, batch)
    ours = losses(model, batch, mask)
    leaves = {name: value.clone().requires_grad_() for name, value in state.items()}
    for name in list(leaves):  # tied, as officially
        if name.startswith("decoder_embeddings."):
            leaves[name] = leaves[f"lm.bert.embeddings.{name.removeprefix('decoder_embeddings.')}"]
    theirs, _ = oracle.forward(leaves, *apart(batch, mask), heads=2, query=query, bag_weight=bag)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-10, atol=1e-10)
    sum(ours.values()).backward()
    sum(theirs.values()).backward()
    for name, official in (
        ("tokenizer.word.weight", "lm.bert.embeddings.word_embeddings.weight"),
        ("tokenizer.place.weight", "lm.bert.embeddings.position_embeddings.weight"),
        ("encoder.blocks.0.mlp.fc1.weight", "lm.bert.encoder.layer.0.intermediate.dense.weight"),
        ("head.bias", "lm.cls.predictions.bias"),
        ("decoder.attn.proj.weight", "c_head.attention.output.dense.weight"),
    ):
        torch.testing.assert_close(model.get_parameter(name).grad, leaves[official].grad, rtol=1e-8, atol=1e-10)


def test_encoder_and_head_are_those_of_transformers(state):
    transformers = pytest.importorskip("transformers", reason="the oracle transformers is not installed")
    config = transformers.BertConfig(
        vocab_size=160, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=24, attn_implementation="eager",
    )  # fmt: skip
    theirs = transformers.BertForMaskedLM(config).double().eval()
    wanted = {name.removeprefix("lm."): value for name, value in state.items() if name.startswith("lm.")}
    assert not theirs.load_state_dict(wanted).missing_keys
    model = model_of(state)
    batch = token_batch(2)
    packing = Packing.from_offsets(batch["offsets"])
    ids = packing.pad(batch["tokens"])
    real = packing.pad(torch.ones_like(batch["tokens"]))
    expected = theirs(input_ids=ids, attention_mask=real).logits
    scores = model.scores(encode(model.tokenizer, model.encoder, batch["tokens"], batch["offsets"]))
    torch.testing.assert_close(scores, packing.unpad(expected), rtol=1e-9, atol=1e-9)


def test_the_decoder_is_a_layer_of_bert_where_query_and_memory_agree(state):
    transformers = pytest.importorskip("transformers", reason="the oracle transformers is not installed")
    from transformers.models.bert.modeling_bert import BertLayer

    config = transformers.BertConfig(
        hidden_size=32, num_attention_heads=2, intermediate_size=128, attn_implementation="eager"
    )
    theirs = BertLayer(config).double().eval()
    theirs.load_state_dict({n.removeprefix("c_head."): v for n, v in state.items() if n.startswith("c_head.")})
    decoder = model_of(state).decoder
    x = torch.randn(12, 32, dtype=torch.float64)
    packing = Packing.from_offsets(torch.tensor([0, 6, 12]))
    seen = ~torch.eye(6, dtype=torch.bool).expand(2, 6, 6)
    blocked = torch.zeros(6, 6, dtype=torch.float64).masked_fill(torch.eye(6, dtype=torch.bool), float("-inf"))
    expected = theirs(x.view(2, 6, 32), blocked.expand(2, 1, 6, 6))
    expected = (expected[0] if isinstance(expected, tuple) else expected).flatten(0, 1)
    torch.testing.assert_close(decoder(x, x, packing, seen), expected, rtol=1e-9, atol=1e-9)


def test_a_token_of_the_decoder_never_sees_itself(state):
    model = model_of(state)
    batch = token_batch(3)
    packing = Packing.from_offsets(batch["offsets"])
    mask = drawn(model, batch)
    latents = encode(model.tokenizer, model.encoder, mask.inputs, batch["offsets"])
    plain = model.decode(latents, batch["tokens"], packing, mask)
    for row in (3, 20):  # in a text of one token nobody sees it
        changed = batch["tokens"].clone()
        changed[row] = 104 + (changed[row] - 103) % 50
        other = model.decode(latents, changed, packing, mask)
        assert torch.equal(other[row], plain[row])
        assert not torch.equal(other, plain)


def test_the_decoder_knows_of_the_encoder_the_first_latent_alone(state):
    model = model_of(state)
    batch = token_batch(3)
    packing = Packing.from_offsets(batch["offsets"])
    first, second = drawn(model, batch, 1), drawn(model, batch, 2)
    latents = [encode(model.tokenizer, model.encoder, mask.inputs, batch["offsets"]) for mask in (first, second)]
    streams = [model.streams(one, batch["tokens"], packing)[1] for one in latents]
    rest = torch.ones(35, dtype=torch.bool)
    rest[batch["offsets"][:-1]] = False
    assert torch.equal(streams[0][rest], streams[1][rest])
    assert not torch.equal(streams[0][~rest], streams[1][~rest])
    mixed = latents[0].clone()
    mixed[rest] = latents[1][rest]
    decoded = [model.decode(one, batch["tokens"], packing, first) for one in (latents[0], mixed)]
    assert torch.equal(*decoded)


def test_special_tokens_are_no_targets(state, monkeypatch):
    model = model_of(state, DupMAE)
    batch = token_batch(4)
    rows = []
    plain = model.decoder.forward

    def watch(*arguments):
        rows.append(plain(*arguments))
        rows[0].retain_grad()
        return rows[0]

    monkeypatch.setattr(model.decoder, "forward", watch)
    losses(model, batch, drawn(model, batch))["loss_decoder"].backward()
    reached = rows[0].grad.abs().sum(1) > 0
    ends = torch.zeros(35, dtype=torch.bool)
    ends[batch["offsets"][:-1]] = ends[batch["offsets"][1:] - 1] = True
    assert torch.equal(reached, ~ends)


def test_companions_change_nothing(state):
    """What padding would be in a padded batch: a text's own losses do not depend on longer ones beside it."""
    model = model_of(state, DupMAE)
    batch = token_batch(5)
    mask = drawn(model, batch)
    texts, inputs, masked, matrices = apart(batch, mask)
    together = losses(model, batch, mask)
    alone = [
        losses(model, {"tokens": t, "offsets": torch.tensor([0, len(t)])}, TextMask(i, m, a[None]))
        for t, i, m, a in zip(texts, inputs, masked, matrices)
    ]
    weights = {
        "loss_encoder": [int(m.sum()) for m in masked],
        "loss_decoder": [len(t) - 2 for t in texts],
        "loss_bag": [1, 1, 1],
    }
    for name, shares in weights.items():
        mean = sum(share * one[name] for share, one in zip(shares, alone)) / sum(shares)
        torch.testing.assert_close(together[name], mean)


def test_without_a_bag_dup_mae_is_retro_mae(state):
    batch = token_batch(6)
    plain = model_of(state)
    mask = drawn(plain, batch)
    other = model_of(state, DupMAE, bag_weight=0.0, query_embedding="raw_pos")
    first, second = losses(plain, batch, mask), losses(other, batch, mask)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert other.state_dict().keys() == plain.state_dict().keys()


def test_sizes_are_the_published_ones():
    with torch.device("meta"):
        model = retro_mae_base()
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    assert count["decoder"] == 7_087_872
    assert sum(count.values()) - count["decoder"] == 109_514_298  # BertForMaskedLM of bert-base-uncased


def test_dropout_draws_for_query_and_memory_apart():
    model = RetroMAE(vocab_size=160, embed_dim=32, depth=1, num_heads=2, max_length=24, query_embedding="bert_embed")
    batch = token_batch(0)
    packing = Packing.from_offsets(batch["offsets"])
    query, memory = model.streams(torch.randn(35, 32), batch["tokens"], packing)
    dropped = [(part == 0).double().mean().item() for part in (query, memory)]
    assert dropped == pytest.approx([0.1, 0.1], abs=0.04)
    assert not torch.equal(query == 0, memory == 0)
    plain = RetroMAE(vocab_size=160, embed_dim=32, depth=1, num_heads=2, max_length=24)
    assert not (plain.streams(torch.randn(35, 32), batch["tokens"], packing)[0] == 0).any()


def bag_case(seed=0):
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(35, 160, generator=generator, dtype=torch.float64, requires_grad=True)
    return latents, token_batch(seed)


def test_bag_of_words_targets():
    tokens = torch.tensor([101, 110, 110, 111, 112, 102, 101, 120, 121, 102])
    offsets = torch.tensor([0, 6, 10])
    weights = LexicalHead().targets(tokens, offsets, 160)
    assert weights.nonzero().tolist() == [[0, 110], [0, 111], [0, 112], [1, 120], [1, 121]]
    assert weights[weights > 0].tolist() == [0.25] * 3 + [0.5] * 2
    assert weights.sum(1).tolist() == [0.75, 1.0]
    unique = LexicalHead(weights="unique", drop_ids=110).targets(tokens, offsets, 160)
    assert unique.sum(1).tolist() == pytest.approx([1.0, 1.0])
    assert unique[0].nonzero().flatten().tolist() == [111, 112]
    with_special = torch.tensor([101, 101, 102, 102])
    inside = LexicalHead().targets(with_special, torch.tensor([0, 4]), 160)
    assert inside.nonzero().tolist() == [[0, 101], [0, 102]]


def test_bag_of_words_reaches_the_largest_score_of_each_word_alone():
    latents, batch = bag_case()
    LexicalHead()(lambda rows: rows, latents, batch["tokens"], batch["offsets"]).backward()
    for start, end in pairwise(batch["offsets"].tolist()):
        part = latents.grad[start:end]
        assert not part[0].any()
        assert (part != 0).sum(0).tolist() == [1] * 160
        assert torch.equal((part != 0).long().argmax(0), latents[start + 1 : end].argmax(0) + 1)


def test_bag_of_words_ignores_order():
    latents, batch = bag_case()
    head = LexicalHead()
    plain = head(lambda rows: rows, latents, batch["tokens"], batch["offsets"])
    order = torch.arange(35)
    order[1:12] = torch.tensor(random.Random(0).sample(range(1, 12), 11))
    assert torch.equal(head(lambda rows: rows[:, :], latents[order], batch["tokens"], batch["offsets"]), plain)


def test_bag_of_words_in_closed_form():
    _, batch = bag_case()
    flat = torch.zeros(35, 160, dtype=torch.float64)
    shares = LexicalHead().targets(batch["tokens"], batch["offsets"], 160).sum(1)
    value = LexicalHead()(lambda rows: rows, flat, batch["tokens"], batch["offsets"])
    assert value.item() == pytest.approx((shares.mean() * torch.tensor(160.0).log()).item())
    latents, _ = bag_case(1)
    cls = LexicalHead("cls", "unique").pool(lambda rows: rows, latents, batch["offsets"])
    assert torch.equal(cls, latents[batch["offsets"][:-1]])


def test_scores_in_chunks():
    rows, words = torch.randn(50, 8, dtype=torch.float64, requires_grad=True), torch.randint(0, 30, (50,))
    weight = torch.randn(30, 8, dtype=torch.float64, requires_grad=True)
    results = []
    for chunk in (7, 50, 1000):
        loss = word_loss(lambda part: part @ weight.T, rows, words, chunk)
        results.append((loss, *torch.autograd.grad(loss, (rows, weight))))
    expected = F.cross_entropy(rows @ weight.T, words)
    torch.testing.assert_close(results[0][0], expected)
    for other in results[1:]:
        for first, second in zip(results[0], other):
            torch.testing.assert_close(first, second)
    assert word_loss(lambda part: part @ weight.T, rows[:0], words[:0]).item() == 0.0


@pytest.mark.parametrize("chunk", [1, 16, 1000])
def test_bags_in_groups_of_texts(chunk):
    latents, batch = bag_case()
    most = []

    def scores(rows):
        most.append(len(rows))
        return rows

    pooled = LexicalHead(chunk=chunk).pool(scores, latents, batch["offsets"])
    for row, (start, end) in zip(pooled, pairwise(batch["offsets"].tolist())):
        assert torch.equal(row, latents[start + 1 : end].amax(0))
    assert most == {1: [12, 3, 20], 16: [15, 20], 1000: [35]}[chunk]


def test_no_more_scores_than_a_chunk_exist():
    seen = []

    def scores(part):
        seen.append(len(part))
        return part @ torch.ones(8, 30)

    word_loss(scores, torch.randn(50, 8), torch.randint(0, 30, (50,)), 16)
    assert max(seen) == 16


def test_bad_input_is_named():
    model, batch = retro_mae_test(), token_batch(0)
    with pytest.raises(DataError, match="needs words"):
        model(batch["tokens"], "loss", offsets=batch["offsets"])
    with pytest.raises(DataError, match="needs offsets"):
        model(batch["tokens"], "loss", words=batch["words"])
    with pytest.raises(DataError, match=r"needs the field 'tokens' of a batch, got \['text'\]"):
        model(mode="loss", text=1)
    with pytest.raises(DataError, match="ids range from 101 to 160, the model knows 160"):
        model.extract_features(torch.tensor([101, 160, 102]), torch.tensor([0, 3]))
    with pytest.raises(DataError, match="a text has 25 tokens, there are places for 24"):
        model.extract_features(torch.full((25,), 110), torch.tensor([0, 25]))
    with pytest.raises(ConfigError, match='query_embedding must be "raw_pos" or "bert_embed"'):
        dup_mae_test(query_embedding="raw")
    with pytest.raises(ConfigError, match='pooling must be "max" or "cls"'):
        LexicalHead("mean")


def test_decoder_rows_without_anything_to_see_stay_finite():
    decoder = EnhancedDecoder(16, 2)
    packing = Packing.from_offsets(torch.tensor([0, 2, 7]))
    seen = torch.ones(2, 5, 5, dtype=torch.bool)
    x = torch.randn(7, 16, requires_grad=True)
    decoder(x, x, packing, seen).sum().backward()
    assert x.grad.isfinite().all()
