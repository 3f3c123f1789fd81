"""RetroMAE's and BERT's files in transformers' layout: strict, both ways, the same numbers."""

import copy
import runpy
import sys

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained, load_weights, save_safetensors
from mae3d.errors import CheckpointError
from mae3d.models.methods import DupMAE, RetroMAE
from tests.oracles.retro_mae import random_state

SIZE = {"vocab_size": 160, "embed_dim": 32, "depth": 2, "num_heads": 2, "max_length": 24}


@pytest.fixture(scope="module")
def training():
    return random_state(dtype=torch.float32)


@pytest.fixture(scope="module")
def masked_lm(training):
    return {name.removeprefix("lm."): value for name, value in training.items() if name.startswith("lm.")}


def as_encoder(masked_lm):
    return {name.removeprefix("bert."): value for name, value in masked_lm.items() if name.startswith("bert.")}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_training_states_go_both_ways(training):
    done = convert("retro-mae", training)
    assert done.layout.kind == "training"
    RetroMAE(**SIZE).load_state_dict(done.state)
    assert same(export("dup-mae", done.state).state, training)


def test_masked_language_models_go_both_ways(masked_lm):
    done = convert("dup-mae", masked_lm)
    assert done.layout.kind == "masked_lm"
    assert same(export("retro-mae", done.state).state, masked_lm)


def test_bare_encoders_go_both_ways(masked_lm):
    encoder = as_encoder(masked_lm)
    done = convert("retro-mae", encoder)
    assert done.layout.kind == "encoder"
    assert same(export("retro-mae", done.state).state, encoder)


def test_kinds_without_a_place_for_everything_are_asked_for_by_name(training, masked_lm):
    ours = convert("retro-mae", training).state
    assert same(export("retro-mae", ours, "masked_lm").state, masked_lm)
    assert same(export("retro-mae", ours, "encoder").state, as_encoder(masked_lm))
    with pytest.raises(CheckpointError, match="no kind of file 'mlm'; known: training, masked_lm, encoder"):
        export("retro-mae", ours, "mlm")


def test_what_old_and_lean_files_have_otherwise(masked_lm):
    plain = convert("retro-mae", masked_lm).state
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma"): value for name, value in masked_lm.items()}
    old = {name.replace("LayerNorm.bias", "LayerNorm.beta"): value for name, value in old.items()}
    old |= {"bert.embeddings.position_ids": torch.arange(24)[None], "cls.seq_relationship.bias": torch.zeros(2)}
    old |= {"bert.pooler.dense.weight": torch.zeros(32, 32)}
    assert same(convert("retro-mae", old).state, plain)
    lean = {name: value for name, value in masked_lm.items() if ".decoder." not in name}
    assert same(convert("retro-mae", lean).state, plain)
    other = {name: value for name, value in masked_lm.items() if name not in lean or name != "cls.predictions.bias"}
    assert same(convert("retro-mae", other).state, plain)


def test_damaged_files_are_refused(training, masked_lm):
    untied = {**masked_lm, "cls.predictions.decoder.weight": torch.zeros(160, 32)}
    with pytest.raises(CheckpointError, match=r"decoder\.weight differs from bert\.embeddings"):
        convert("retro-mae", untied)
    with pytest.raises(CheckpointError, match=r"decoder_embeddings\.LayerNorm\.bias differs from lm"):
        convert("retro-mae", {**training, "decoder_embeddings.LayerNorm.bias": torch.zeros(32)})
    for name in ("bert.encoder.layer.1.attention.output.dense.bias", "bert.encoder.layer.0.attention.self.key.weight"):
        lacking = {key: value for key, value in masked_lm.items() if key != name}
        with pytest.raises(CheckpointError, match="missing 1 tensor"):
            convert("retro-mae", lacking)
    with pytest.raises(CheckpointError, match=r"unexpected 1 tensor: decoder\.crossattention"):
        convert("retro-mae", {**training, "c_head.crossattention": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="wrong shape of 1 tensor"):
        convert("retro-mae", {**masked_lm, "cls.predictions.transform.dense.bias": torch.zeros(31)})


def test_pretraining_goes_on_from_a_released_file(masked_lm, tmp_path):
    save_safetensors({name: value.clone() for name, value in masked_lm.items()}, tmp_path / "model.safetensors")
    for kind in (RetroMAE, DupMAE):
        model = kind(**SIZE)
        before = copy.deepcopy(model.decoder.state_dict())
        report = load_pretrained(model, tmp_path / "model.safetensors")
        assert all(name.startswith("decoder.") for name in report.fresh)
        assert torch.equal(model.tokenizer.word.weight, masked_lm["bert.embeddings.word_embeddings.weight"])
        assert same(before, model.decoder.state_dict())


def test_the_tool_writes_files_of_transformers(training, tmp_path, repository, monkeypatch):
    transformers = pytest.importorskip("transformers", reason="the oracle transformers is not installed")
    files = [str(tmp_path / name) for name in ("training.bin", "ours.safetensors", "model.safetensors")]
    torch.save(training, files[0])
    for command in ([files[0], "-o", files[1]], [files[1], "-o", files[2], "--export", "--kind", "masked_lm"]):
        monkeypatch.setattr(sys, "argv", ["convert_checkpoint.py", "retro-mae", *command])
        runpy.run_path(str(repository / "tools" / "convert_checkpoint.py"), run_name="__main__")
    config = transformers.BertConfig(
        vocab_size=160, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=24,
    )  # fmt: skip
    model = transformers.BertForMaskedLM(config)
    result = model.load_state_dict(load_weights(tmp_path / "model.safetensors"), strict=True)
    assert not result.missing_keys
    assert torch.equal(model.cls.predictions.decoder.weight, training["lm.bert.embeddings.word_embeddings.weight"])
