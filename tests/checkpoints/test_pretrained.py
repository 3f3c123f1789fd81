import pytest
import torch

from mae3d.checkpoints import PretrainedEncoder, load_pretrained, save_safetensors
from mae3d.errors import CheckpointError
from mae3d.models.heads import point_mae_classifier_test, point_mae_segmenter_test
from mae3d.models.methods import point_mae_test
from tests.oracles import point_mae as oracle


@pytest.fixture
def pretrained(tmp_path):
    torch.manual_seed(0)
    model = point_mae_test()
    save_safetensors(model.state_dict(), tmp_path / "model.safetensors")
    return model, tmp_path / "model.safetensors"


@pytest.mark.parametrize("build", [point_mae_classifier_test, point_mae_segmenter_test])
def test_encoder_is_loaded_and_counted(build, pretrained):
    source, path = pretrained
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = load_pretrained(model, path)
    shared = [name for name in before if name in source.state_dict()]
    assert list(report.loaded) == shared
    assert set(report.fresh) == set(before) - set(shared)
    assert {name.split(".")[0] for name in report.unused} == {"decoder", "prediction"}
    after = model.state_dict()
    assert all(torch.equal(after[name], source.state_dict()[name]) for name in report.loaded)
    assert all(torch.equal(after[name], before[name]) for name in report.fresh)
    assert f"{len(shared)} tensors loaded" in str(report)


def test_official_file_is_recognised(tmp_path):
    official = oracle.official_state(32, 3, 2, 8)
    torch.save({"base_model": {f"module.{name}": value for name, value in official.items()}}, tmp_path / "pretrain.pth")
    model = point_mae_classifier_test()
    report = load_pretrained(model, tmp_path / "pretrain.pth")
    assert report.fresh[:2] == ("encoder.class_token", "encoder.class_position")
    assert all(name.startswith(("encoder.class_", "head.")) for name in report.fresh)
    expected = official["MAE_encoder.encoder.second_conv.0.weight"].squeeze(-1)
    assert torch.equal(model.tokenizer.embedding.second[0].weight, expected)


def test_as_initialiser_of_a_config(pretrained):
    source, path = pretrained
    model = point_mae_classifier_test(init_cfg={"type": PretrainedEncoder, "checkpoint": str(path)})
    model.init_weights()
    assert torch.equal(model.encoder.norm.weight, source.encoder.norm.weight)
    assert torch.equal(model.encoder.blocks[1].attn.qkv.weight, source.encoder.blocks[1].attn.qkv.weight)


def test_training_checkpoint_of_the_runner(pretrained, tmp_path):
    source, _ = pretrained
    torch.save({"meta": {"epoch": 1}, "state_dict": source.state_dict(), "optimizer": {}}, tmp_path / "epoch_1.pth")
    assert load_pretrained(point_mae_classifier_test(), tmp_path / "epoch_1.pth").loaded


def test_what_must_be_there_is_demanded(pretrained, tmp_path):
    source, _ = pretrained
    state = {name: value for name, value in source.state_dict().items() if "blocks.1" not in name}
    save_safetensors(state, tmp_path / "cut.safetensors")
    model = point_mae_classifier_test()
    before = model.encoder.norm.weight.clone()
    with pytest.raises(CheckpointError, match=r"lacks 11 tensors: encoder\.blocks\.1"):
        load_pretrained(model, tmp_path / "cut.safetensors")
    with pytest.raises(CheckpointError, match="lacks"):
        load_pretrained(model, tmp_path / "cut.safetensors", fresh=("head.",))
    assert torch.equal(model.encoder.norm.weight, before)


def test_another_size_is_refused(pretrained):
    _, path = pretrained
    with pytest.raises(CheckpointError, match="of another size than the model"):
        load_pretrained(point_mae_classifier_test(embed_dim=48), path)
