"""Official files of data2vec 2.0, there and back, as fairseq writes them, and what fine-tuning takes of them."""

import enum
import sys
import types

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained, load_weights
from mae3d.errors import CheckpointError
from mae3d.models.heads import Data2Vec2Classifier
from mae3d.models.methods import data2vec2_audio_base, data2vec2_image_base, data2vec2_text_base
from tests.oracles import data2vec2 as oracle
from tests.oracles import data2vec2_states as states

DECODER = {"dim": 24, "layers": 3, "kernel": 3, "groups": 4}
IMAGE = states.image_state(64, 2, 10, patch=8, side=4, decoder=DECODER)
AUDIO = states.audio_state(
    32, 8, 16, 2, [(16, 10), (16, 3)], (3, 5, 4), {"dim": 16, "layers": 2, "kernel": 5, "groups": 4}
)
TEXT = states.text_state(32, 3, 50, 20, {"dim": 16, "layers": 2, "kernel": 5})
ENCODER = {"image_size": 32, "patch_size": 8, "embed_dim": 64, "depth": 12, "num_heads": 1}
FILES = {
    "pretrain_image": IMAGE,
    "fine_tune_image": states.image_classifier_state(IMAGE, 5),
    "pretrain_audio": AUDIO,
    "pretrain_text": TEXT,
}


@pytest.mark.parametrize("kind", FILES)
def test_there_and_back_is_the_same(kind):
    official = FILES[kind]
    ours = convert("data2vec2", official)
    assert ours.layout.kind == kind
    back = export("data2vec2", ours.state)
    assert back.layout.kind == kind
    assert set(back.state) == set(official)
    assert all(torch.equal(back.state[name], value) for name, value in official.items())
    with pytest.raises(CheckpointError, match=r"unexpected 1 tensor: extra\.weight"):
        convert("data2vec2", {**official, "extra.weight": torch.zeros(1)})
    damaged = {name: value for name, value in official.items() if not name.endswith("blocks.1.norm1.bias")}
    with pytest.raises(CheckpointError, match=r"missing \d tensors?: .*encoder\.blocks\.1\.norm1\.bias"):
        convert("data2vec2", damaged)


def test_the_modality_s_own_blocks_come_first():
    ours = convert("data2vec2", IMAGE).state
    own = "modality_encoders.IMAGE.context_encoder.blocks.1.mlp.fc1.weight"
    assert torch.equal(ours["encoder.blocks.1.mlp.fc1.weight"], IMAGE[own])
    assert torch.equal(ours["encoder.blocks.2.mlp.fc1.weight"], IMAGE["blocks.0.mlp.fc1.weight"])
    assert torch.equal(ours["teacher.model.encoder.blocks.11.norm2.bias"], IMAGE["_ema.blocks.9.norm2.bias"])
    sound = convert("data2vec2", AUDIO).state
    assert torch.equal(sound["encoder.blocks.8.norm1.bias"], AUDIO["blocks.0.norm1.bias"])
    words = convert("data2vec2", TEXT).state
    assert torch.equal(words["teacher.model.encoder.blocks.2.norm1.bias"], TEXT["_ema.2.norm1.bias"])


def test_published_files_have_the_tensors_of_the_specification():
    with torch.device("meta"):
        image, audio = data2vec2_image_base().state_dict(), data2vec2_audio_base().state_dict()
        text = data2vec2_text_base().state_dict()
    official = {name: list(value.shape) for name, value in export("data2vec2", image).state.items()}
    place = "modality_encoders.IMAGE."
    expected = {
        f"{place}extra_tokens": [1, 1, 768],
        f"{place}local_encoder.proj.weight": [768, 3, 16, 16],
        f"{place}fixed_positional_encoder.positions": [1, 196, 768],
        f"{place}decoder.blocks.5.0.weight": [768, 48, 3, 3],
        f"{place}decoder.proj.weight": [768, 768],
        f"{place}context_encoder.blocks.1.attn.qkv.weight": [2304, 768],
        "blocks.9.attn.qkv.weight": [2304, 768],
    }
    assert {name: official.get(name) for name in expected} == expected
    assert "blocks.10.attn.qkv.weight" not in official
    assert sum(name.startswith("_ema.") for name in official) == 150
    assert len(official) - 150 == 150 + 2 * 6 + 2  # the student has a decoder besides
    official = {name: list(value.shape) for name, value in export("data2vec2", audio).state.items()}
    place = "modality_encoders.AUDIO."
    expected = {
        f"{place}alibi_scale": [1, 1, 12, 1, 1],
        f"{place}local_encoder.conv_layers.0.0.weight": [512, 1, 10],
        f"{place}local_encoder.conv_layers.6.2.1.bias": [512],
        f"{place}project_features.1.weight": [512],
        f"{place}project_features.2.weight": [768, 512],
        f"{place}relative_positional_encoder.5.0.weight": [768, 48, 19],
        f"{place}context_encoder.norm.weight": [768],
        f"{place}decoder.blocks.0.0.weight": [384, 48, 7],
        f"_ema.{place}relative_positional_encoder.5.0.weight": [768, 48, 19],
    }
    assert {name: official.get(name) for name in expected} == expected
    assert not [name for name in official if name.startswith("_ema") and "local_encoder" in name]
    official = {name: list(value.shape) for name, value in export("data2vec2", text).state.items()}
    place = "modality_encoders.TEXT."
    expected = {
        f"{place}local_encoder.embed_positions.weight": [514, 768],
        f"{place}decoder.proj.0.weight": [1536, 768],
        f"{place}decoder.proj.2.weight": [768, 1536],
        "_ema.0.norm1.weight": [768],
    }
    assert {name: official.get(name) for name in expected} == expected


def test_older_names_are_read():
    place = "modality_encoders.IMAGE."
    flat = {name: v.squeeze(0) if name.endswith("alibi_scale") else v for name, v in AUDIO.items()}
    assert flat["modality_encoders.AUDIO.alibi_scale"].dim() == 4
    scale = convert("data2vec2", flat).state["attention_bias.scale"]
    assert torch.equal(scale, AUDIO["modality_encoders.AUDIO.alibi_scale"].flatten())
    renamed = {
        name.replace(".fixed_positional_encoder.positions", ".positional_encoder.pos_embed"): value
        for name, value in IMAGE.items()
    }
    assert f"{place}positional_encoder.pos_embed" in renamed
    assert convert("data2vec2", renamed).state.keys() == convert("data2vec2", IMAGE).state.keys()


@pytest.fixture
def fairseq_file(tmp_path, monkeypatch):
    """A file as fairseq writes it, settings and all; what they are made of is gone when it is read."""
    names = ("omegaconf", "omegaconf.dictconfig", "fairseq", "fairseq.choices")
    modules = {name: types.ModuleType(name) for name in names}
    node = type("DictConfig", (), {"__module__": "omegaconf.dictconfig"})
    backend = enum.Enum("Backend", {"c10d": 1}, module="fairseq.choices", qualname="Backend")
    modules["omegaconf.dictconfig"].DictConfig = node
    modules["fairseq.choices"].Backend = backend
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    cfg = node()
    cfg.__dict__.update(
        _content={"model": node(), "backend": backend.c10d}, _metadata={"object_type": dict, "key": int}
    )
    weights = {name: value for name, value in IMAGE.items() if not name.startswith("_ema.")}
    weights["_ema"] = {n.removeprefix("_ema."): v for n, v in IMAGE.items() if n.startswith("_ema.")}
    torch.save({"cfg": cfg, "args": None, "model": weights, "extra_state": {"epoch": 1}}, tmp_path / "base_imagenet.pt")
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path / "base_imagenet.pt"


def test_fairseq_files_are_read_without_fairseq(fairseq_file):
    weights = load_weights(fairseq_file)
    assert set(weights) == set(IMAGE)
    assert all(torch.equal(weights[name], value) for name, value in IMAGE.items())


def test_exported_files_hold_the_teacher_as_a_dict_of_its_own(tmp_path):
    done = export("data2vec2", convert("data2vec2", IMAGE).state)
    content = done.layout.file_content(done.state)
    assert set(content) == {"model"}
    assert len(content["model"]["_ema"]) == 150
    torch.save(content, tmp_path / "official.pt")
    assert set(load_weights(tmp_path / "official.pt")) == set(IMAGE)


def test_fine_tuning_takes_the_student_and_leaves_the_rest(fairseq_file):
    model = Data2Vec2Classifier(5, **ENCODER)
    report = load_pretrained(model, fairseq_file)
    assert set(report.fresh) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    assert {name.split(".")[0] for name in report.unused} == {"decoder", "prediction", "teacher"}
    assert torch.equal(model.encoder.blocks[2].mlp.fc1.weight, IMAGE["blocks.0.mlp.fc1.weight"])


def test_classifier_equals_the_restatement():
    official = FILES["fine_tune_image"]
    model = Data2Vec2Classifier(5, **ENCODER).eval()
    model.load_state_dict(convert("data2vec2", official).state)
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(images), oracle.image_classifier(images, official, 1), rtol=1e-4, atol=1e-5)


def test_only_blocks_learn_slower():
    model = Data2Vec2Classifier(5, **ENCODER)
    layers = {name: model.get_layer_depth(name) for name, _ in model.named_parameters()}
    exponents = {name: total - 1 - layer for name, (layer, total) in layers.items()}
    assert exponents["tokenizer.projection.weight"] == exponents["encoder.class_token"] == 0
    assert exponents["encoder.input_norm.weight"] == exponents["head.weight"] == 0
    assert [exponents[f"encoder.blocks.{index}.norm1.weight"] for index in range(12)] == list(range(12, 0, -1))
