"""data2vec 2.0 on sounds and text: equality with its restatement, and the parts that only sequences have."""

import pytest
import torch
from torch import nn

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError, DataError
from mae3d.models.backbones import ViT
from mae3d.models.layers import AlibiBias, ConvPositions
from mae3d.models.layers.alibi import alibi_slopes
from mae3d.models.layers.conv_block import ConvBlock
from mae3d.models.methods import (
    Data2Vec2Audio,
    Data2Vec2Text,
    data2vec2_audio_base,
    data2vec2_audio_large,
    data2vec2_audio_test,
    data2vec2_text_base,
    data2vec2_text_large,
    data2vec2_text_test,
)
from mae3d.models.methods.data2vec2 import entrance
from mae3d.models.tokenizers import RobertaEmbedding, WaveformTokenizer
from mae3d.structures import Mask
from tests.oracles import data2vec2 as oracle
from tests.oracles import data2vec2_states as states

HEADS = 2
OFF = {"dropout": 0.0, "attention_dropout": 0.0, "decoder_dropout": 0.0, "mask_noise": 0.0}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def removed(rows, count, hidden, seed=3):
    draws = torch.rand(rows, count, generator=torch.Generator().manual_seed(seed))
    return draws.argsort(1).argsort(1) < hidden


def official_audio():
    """Extractor of strides 5 and 2: 40 tokens of 410 samples; heads of which one has a negative scale."""
    decoder = {"dim": 16, "layers": 3, "kernel": 4, "groups": 4}
    state = states.audio_state(32, 1, 3, HEADS, [(16, 10), (16, 3)], (2, 5, 4), decoder)
    state["modality_encoders.AUDIO.alibi_scale"][0, 0, 1] = -0.4
    model = Data2Vec2Audio(
        layers=((16, 10, 5), (16, 3, 2)),
        embed_dim=32,
        depth=4,
        num_heads=HEADS,
        position_depth=2,
        position_width=10,
        position_groups=4,
        decoder_dim=16,
        decoder_depth=3,
        decoder_kernel=4,
        decoder_groups=4,
        input_dropout=0.0,
        layer_drop=0.0,
        target_layers=3,
        **OFF,
    )
    model.load_state_dict(convert("data2vec2", state).state)
    return model.double().eval(), {name: value.double() for name, value in state.items()}


def official_text(norms):
    decoder = {"dim": 16, "layers": 3, "kernel": 5}
    state = states.text_state(32, 4, 50, 20, decoder)
    model = Data2Vec2Text(
        vocab_size=50,
        max_length=20,
        embed_dim=32,
        depth=4,
        num_heads=HEADS,
        decoder_dim=16,
        decoder_depth=3,
        decoder_kernel=5,
        target_layers=3,
        layer_norm=norms[0],
        average_norm=norms[1],
        **OFF,
    )
    model.load_state_dict(convert("data2vec2", state).state)
    return model.double().eval(), {name: value.double() for name, value in state.items()}


def assert_same(model, given, mask, expected, copies):
    result = model.predict_masked(*given, mask=mask)
    torch.testing.assert_close(result.prediction, mask.gather_masked(expected["prediction"]))
    torch.testing.assert_close(result.target, mask.gather_masked(expected["target"].repeat_interleave(copies, 0)))
    tokens = model.tokenizer(*given)
    torch.testing.assert_close(model.encode(tokens, mask), expected["latents"])
    torch.testing.assert_close(model.losses(result)["loss"], expected["regression"], check_dtype=False)


def test_sounds_equal_the_restatement():
    model, state = official_audio()
    waveforms, hidden = draw(2, 410), removed(6, 40, 20)
    expected = oracle.audio(waveforms, [5, 2], hidden, state, HEADS, last=3)
    assert_same(model, (waveforms,), Mask.from_bool(hidden), expected, 3)


@pytest.mark.parametrize("norms", [("instance", "none"), ("layer", "instance")], ids=["base", "large"])
@pytest.mark.parametrize("lengths", [(14, 14), (14, 9)], ids=["equal", "padded"])
def test_texts_equal_the_restatement(norms, lengths):
    model, state = official_text(norms)
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(4, 50, (length,), generator=generator) for length in lengths]
    ids = nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=1)
    hidden = removed(6, 14, 6)
    expected = oracle.text(ids, hidden, state, HEADS, last=3, norms=norms)
    offsets = torch.tensor([0, lengths[0], sum(lengths)])
    assert_same(model, (torch.cat(texts), offsets), Mask.from_bool(hidden), expected, 3)


def test_gradients_of_sounds_equal_the_restatement():
    model, state = official_audio()
    waveforms, hidden = draw(2, 410), removed(4, 40, 20)
    leaves = {name: value.clone().requires_grad_(not name.startswith("_ema")) for name, value in state.items()}
    oracle.audio(waveforms, [5, 2], hidden, leaves, HEADS, last=3)["regression"].backward()
    model.compute_loss(waveforms, Mask.from_bool(hidden))["loss"].backward()
    gradients = {n: torch.zeros_like(v) if v.grad is None else v.grad for n, v in leaves.items()}
    ours = convert("data2vec2", gradients).state
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, ours[name], msg=name)


def test_published_sizes():
    with torch.device("meta"):
        audio, large, text = data2vec2_audio_base(), data2vec2_audio_large(), data2vec2_text_base()
        wide = data2vec2_text_large()
    assert (audio.target.layers, large.target.layers, text.target.layers, wide.target.layers) == (8, 16, 12, 24)
    assert list(audio.decoder.blocks[0][0].weight.shape) == [384, 48, 7]
    assert list(large.position_embedding.blocks[4][0].weight.shape) == [1024, 64, 19]
    assert list(text.tokenizer.place.weight.shape) == [514, 768]
    assert text.teacher_parts == ("encoder",)
    assert (wide.target.layer_norm, wide.target.average_norm) == ("layer", "instance")
    assert audio.tokenizer.num_tokens(16000) == 49
    assert audio.tokenizer.num_tokens(400) == 1


def test_slopes_are_the_published_ones():
    expected = [2.0**-k for k in range(1, 9)] + [2.0 ** -(k + 0.5) for k in range(4)]
    torch.testing.assert_close(alibi_slopes(12), torch.tensor(expected, dtype=torch.float64))
    for heads in (1, 2, 4, 6, 8, 12, 16, 20):
        torch.testing.assert_close(alibi_slopes(heads), torch.tensor(oracle.slopes(heads), dtype=torch.float64))


def test_the_bias_of_kept_tokens_is_that_of_their_places():
    bias = AlibiBias(6)
    with torch.no_grad():
        bias.scale.uniform_(-0.5, 2.0)
    places = torch.arange(30.0).view(1, 30, 1)
    kept = torch.tensor([0, 3, 4, 11, 29])
    whole = bias(places)
    torch.testing.assert_close(bias(places[:, kept]), whole[:, :, kept][..., kept])
    assert (whole <= 0).all()
    assert whole[0, 0, 0, 10] == 10 * whole[0, 0, 0, 1]


def test_a_bias_acts_on_attention_as_written_out():
    torch.manual_seed(0)
    model = ViT(16, 1, 2, position="none", class_token=True, class_position=False).double().eval()
    x, bias = draw(2, 5, 16), draw(2, 2, 5, 5)
    attn, block = model.blocks[0].attn, model.blocks[0]
    y = block.norm1(torch.cat((model.class_token.expand(2, -1, -1), x), 1))
    query, key, value = attn.qkv(y).unflatten(-1, (3, 2, 8)).permute(2, 0, 3, 1, 4)
    scores = query @ key.transpose(-1, -2) / 8**0.5
    scores[:, :, 1:, 1:] += bias
    expected = attn.proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))
    seen = []
    attn.register_forward_hook(lambda *call: seen.append(call[2]))
    model(x, bias=bias)
    torch.testing.assert_close(seen[0], expected)


def test_positions_are_relative_and_reach_as_far_as_told():
    torch.manual_seed(0)
    positions = ConvPositions(8, depth=2, width=10, groups=2).double().eval()
    x = torch.zeros(1, 40, 8).double()
    x[:, 20] = draw(8)
    moved = positions(x.roll(3, 1))
    torch.testing.assert_close(moved[:, 8:38], positions(x).roll(3, 1)[:, 8:38])
    still = positions(torch.zeros_like(x))
    reached = ((positions(x) - still).abs().sum(-1) > 1e-12).squeeze().nonzero().flatten()
    assert (reached.min(), reached.max()) == (16, 24)  # two kernels of 5


def test_an_even_kernel_keeps_the_length():
    block = ConvBlock(4, 4, 6).double()
    x = draw(1, 4, 11)
    full = nn.functional.conv1d(x, block[0].weight, block[0].bias, padding=3)[..., :11]
    expected = nn.functional.gelu(nn.functional.layer_norm(full.transpose(1, 2), (4,)).transpose(1, 2))
    torch.testing.assert_close(block(x), expected)


def test_hidden_sound_reaches_no_latent_through_positions():
    model = data2vec2_audio_test().eval()
    tokens = model.tokenizer(draw(1, 600).float())
    mask = model.masking(tokens, torch.Generator().manual_seed(0))
    other = torch.where(mask.to_bool()[..., None], tokens.features + 1, tokens.features)
    changed = type(tokens)(other, tokens.coordinates, other, grid=tokens.grid)
    torch.testing.assert_close(model.encode(changed, mask), model.encode(tokens, mask), rtol=0, atol=0)


def test_the_teacher_takes_the_students_embedding_with_its_dropout():
    """Published for text; the blocks of the teacher themselves drop nothing."""
    torch.manual_seed(0)
    model = data2vec2_text_test(dropout=0.5, attention_dropout=0.5).train()
    tokens, offsets = torch.arange(4, 24), torch.tensor([0, 20])
    embedded = model.tokenizer(tokens, offsets)
    again = model.tokenizer(tokens, offsets)
    first = model.teach(embedded, embedded.features)
    assert torch.equal(model.teach(embedded, embedded.features), first)
    assert not torch.equal(model.teach(again, again.features), first)


def test_padding_is_not_seen_and_padding_alone_is_harmless():
    model = data2vec2_text_test().eval()
    short, long = torch.tensor([5, 6, 7]), torch.arange(8, 28)
    alone = model.extract_features(short, torch.tensor([0, 3]))
    both = model.extract_features(torch.cat((long, short)), torch.tensor([0, 20, 23]))
    torch.testing.assert_close(both[1:], alone)
    mask = Mask.from_bool((torch.arange(20) < 10).expand(2, -1))  # hides all of the short text
    tokens = model.tokenizer(torch.cat((long, short)), torch.tensor([0, 20, 23]))
    assert entrance(model, tokens, tokens.features, mask)["allowed"].any(dim=2).all()
    assert model.predict_tokens(tokens, mask).prediction.isfinite().all()


def test_masked_counts_of_text():
    model = data2vec2_text_test(mask_ratio=0.48, max_length=512)
    tokens = model.tokenizer(torch.arange(4, 104), torch.tensor([0, 100]))
    assert model.masking(tokens).num_visible == int(100 * (1 - 0.48)) == 52


def test_blocks_are_skipped_in_training_only():
    torch.manual_seed(0)
    model = ViT(16, 6, 2, position="none", layer_drop=0.5, final_norm=False)
    x = torch.randn(2, 4, 16)
    trained = model.train()(x)
    trained.sum().backward()
    run = [block for block in model.blocks if block.mlp.fc1.weight.grad is not None]
    assert 0 < len(run) < 6
    for blocks, expected in ((run, trained), (model.blocks, model.eval()(x))):
        torch.testing.assert_close(nn.Sequential(*blocks)(x), expected)


def test_branches_are_what_the_mlps_give():
    torch.manual_seed(0)
    for norm in ("pre", "post", "residual"):
        model = ViT(16, 3, 2, position="none", norm=norm, layer_scale=0.5).eval()
        seen = []
        for block in model.blocks:
            block.mlp.register_forward_hook(lambda *call, seen=seen: seen.append(call[2]))
        branches = model.branches(torch.randn(2, 4, 16), None, [2, 0])
        assert torch.equal(branches[0], seen[2])
        assert torch.equal(branches[1], seen[0])


def test_dropout_follows_attention_and_mlp():
    model = ViT(16, 1, 2, position="none", norm="post", dropout=1.0, attention_dropout=0.0, final_norm=False).train()
    x = torch.randn(2, 4, 16)
    torch.testing.assert_close(
        model(x), nn.functional.layer_norm(nn.functional.layer_norm(x, (16,), eps=1e-6), (16,), eps=1e-6)
    )
    model = ViT(16, 1, 2, position="none", attention_dropout=0.9)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))
    with pytest.raises(ConfigError, match="bias needs dense tokens"):
        model(x.flatten(0, 1), offsets=torch.tensor([0, 4, 8]), bias=torch.zeros(1, 2, 4, 4))


def test_wrong_input_is_named():
    with pytest.raises(DataError, match=r"long enough for a token, got \[2, 300\]"):
        WaveformTokenizer(8)(torch.zeros(2, 300))
    with pytest.raises(ConfigError, match=r"\(channels, width, stride\) each"):
        WaveformTokenizer(8, [(4, 3)])
    with pytest.raises(DataError, match="a text has 30 tokens, there are places for 24"):
        data2vec2_text_test()(torch.zeros(30).long(), offsets=torch.tensor([0, 30]))
    with pytest.raises(DataError, match="ids range from 9 to 70, the model knows 60"):
        RobertaEmbedding(60, 8)(torch.tensor([9, 70]), torch.tensor([0, 2]))
    with pytest.raises(DataError, match="needs the field 'tokens' of a batch, beside it \\['image'\\]"):
        data2vec2_text_test()(image=torch.zeros(1), mode="loss")
    with pytest.raises(DataError, match="needs the field 'waveform'"):
        data2vec2_audio_test()(image=torch.zeros(1), mode="loss")
