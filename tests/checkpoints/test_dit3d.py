"""Official DiT-3D files, there and back."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_weights
from mae3d.checkpoints.files import save_torch
from mae3d.errors import CheckpointError
from mae3d.models.methods import DiT3D
from tests.oracles import dit3d as oracle


@pytest.fixture
def official():
    return oracle.official_state(24, 2, 2, 4, 3, dtype=torch.float32)


@pytest.mark.parametrize("prefix", ["model.module.", "model.", ""])
def test_files_in_every_wrapping_convert_strictly(official, prefix, tmp_path):
    named = {prefix + name: value for name, value in official.items()}
    save_torch({"epoch": 3, "model_state": named, "optimizer_state": {}}, tmp_path / "epoch_3.pth")
    done = convert("dit3d", load_weights(tmp_path / "epoch_3.pth"))
    model = DiT3D(resolution=8, patch_size=2, embed_dim=24, depth=2, num_heads=2, num_classes=3)
    model.load_state_dict(done.state)
    assert torch.equal(model.head.modulation.weight, official["final_layer.adaLN_modulation.1.weight"])
    back = export("dit3d", model.state_dict())
    assert back.state.keys() == official.keys()
    assert all(torch.equal(back.state[name], official[name]) for name in official)
    assert back.layout.prefix == "model.module."


def test_published_size_has_the_published_names():
    with torch.device("meta"):
        state = DiT3D().state_dict()
    names = {name: list(value.shape) for name, value in export("dit3d", state).state.items()}
    assert names["pos_embed"] == [1, 512, 384]
    assert names["x_embedder.proj.weight"] == [384, 3, 4, 4, 4]
    assert names["t_embedder.mlp.0.weight"] == [384, 256]
    assert names["y_embedder.embedding_table.weight"] == [2, 384]
    assert names["blocks.11.attn.qkv.weight"] == [1152, 384]
    assert names["blocks.0.adaLN_modulation.1.weight"] == [2304, 384]
    assert names["final_layer.linear.weight"] == [192, 384]
    assert names["final_layer.adaLN_modulation.1.weight"] == [768, 384]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("blocks.1.attn.proj.bias"), "missing 1 tensor: encoder.blocks.1.attn.proj.bias"),
        (lambda state: state.update(extra=torch.zeros(1)), "unexpected 1 tensor: extra"),
        (lambda state: state.update({"blocks.0.attn.proj.bias": torch.zeros(5)}), "wrong shape of 1 tensor"),
        (lambda state: state.pop("x_embedder.proj.weight"), "not an official dit3d file"),
    ],
)
def test_files_that_do_not_fit(official, change, message):
    change(official)
    with pytest.raises(CheckpointError, match=message):
        convert("dit3d", official)
