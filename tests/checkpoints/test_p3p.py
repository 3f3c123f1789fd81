"""Official P3P files, there and back, and into the downstream network."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_weights
from mae3d.checkpoints.pretrained import load_pretrained
from mae3d.errors import CheckpointError
from mae3d.models.heads import P3PClassifier
from mae3d.models.methods import p3p_small
from tests.oracles import p3p as oracle

SIDE = 4


@pytest.fixture(scope="module")
def pretrained():
    return oracle.official_state(32, 2, 16, 2, SIDE)


@pytest.mark.parametrize("kind", ["pretrain", "classification"])
def test_there_and_back_is_the_same(kind, pretrained):
    official = pretrained if kind == "pretrain" else oracle.classifier_state(pretrained, 5)
    ours = convert("p3p", official)
    assert ours.layout.kind == kind
    back = export("p3p", ours.state)
    assert back.layout.kind == kind
    assert set(back.state) == set(official)
    assert all(torch.equal(back.state[name], value) for name, value in official.items())


def test_published_size():
    with torch.device("meta"):
        model = p3p_small()
    official = export("p3p", model.state_dict())
    shapes = {name: list(value.shape) for name, value in official.state.items()}
    assert official.parameters == 69_792_128
    assert shapes["patch_embed.proj_weights"] == [4096, 12, 384]
    assert shapes["patch_embed.pos_embed_enc.0.weight"] == [384, 3]
    assert shapes["decoder_pred.weight"] == [49152, 384]
    assert shapes["occupancy_pred.weight"] == [8192, 384]
    assert shapes["blocks.11.attn.qkv.weight"] == [1152, 384]
    assert "encoder.class_position" not in model.state_dict()


def test_files_as_saved_start_a_downstream_network(pretrained, tmp_path):
    path = tmp_path / "ckpt-best.pth"
    weights = {f"module.{name}": value for name, value in pretrained.items()}
    torch.save({"base_model": weights, "optimizer": {}, "epoch": 120, "metrics": {}, "best_metrics": {}}, path)
    assert set(load_weights(path)) == set(pretrained)
    model = P3PClassifier(5, embed_dim=32, depth=2, num_heads=2, cells=56, patch_size=SIDE)
    report = load_pretrained(model, path)
    assert set(report.fresh) == {"encoder.class_position", "head.weight", "head.bias"}
    assert torch.equal(model.tokenizer.weight, pretrained["patch_embed.proj_weights"])
    probe = P3PClassifier(5, embed_dim=32, depth=2, num_heads=2, cells=56, patch_size=SIDE, freeze=True)
    assert set(load_pretrained(probe, path).fresh) == {"head.weight", "head.bias"}


def test_a_missing_or_odd_tensor_is_named(pretrained):
    less = {name: value for name, value in pretrained.items() if name != "decoder_norm.weight"}
    with pytest.raises(CheckpointError, match=r"missing 1 tensor: decoder.transformer.norm.weight"):
        convert("p3p", less)
    with pytest.raises(CheckpointError, match=r"unexpected 1 tensor: teacher\.weight"):
        convert("p3p", {**pretrained, "teacher.weight": torch.zeros(1)})
