import pytest
import torch

from mae3d.checkpoints import PretrainedBlocks, PretrainedEncoder, load_pretrained, save_safetensors
from mae3d.errors import CheckpointError, ConfigError
from mae3d.models.heads import point_mae_classifier_test, point_mae_segmenter_test
from mae3d.models.methods import mae_test, p3p_test, point_mae_test, videomae_test
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


@pytest.fixture
def images(tmp_path):
    """An image model of the block sizes of ``p3p_test`` and its file."""
    torch.manual_seed(1)
    model = mae_test(depth=2)
    for parameter in model.parameters():  # biases begin with zeros in every model
        torch.nn.init.normal_(parameter.data)
    save_safetensors(model.state_dict(), tmp_path / "images.safetensors")
    return model, tmp_path / "images.safetensors"


def test_blocks_of_another_modality_and_nothing_else(images):
    source, path = images
    torch.manual_seed(2)
    model = p3p_test(init_cfg={"type": PretrainedBlocks, "checkpoint": str(path)})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.init_weights()
    blocks = {name for name in before if name.startswith("encoder.blocks.")}
    assert len(blocks) == 2 * 12  # two norms, query-key-value, projection, two layers of the MLP: weight and bias
    assert {name for name in before if not torch.equal(before[name], model.state_dict()[name])} == blocks
    assert all(torch.equal(model.state_dict()[name], source.state_dict()[name]) for name in blocks)


def test_blocks_of_another_form_are_refused(images):
    _, path = images
    initialise = PretrainedBlocks(str(path))
    refusals = {
        "holds 12 tensors: 1": p3p_test(depth=1),
        "lacks 12 tensors: 2": p3p_test(depth=3),
        "of another size": p3p_test(embed_dim=48),
        "lacks 4 tensors: 0.attn.q_bias": videomae_test(),
        "holds 2 tensors: 0.attn.qkv.bias": point_mae_test(depth=2),
    }
    for message, model in refusals.items():
        before = {name: value.clone() for name, value in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=message):
            initialise(model)
        assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    with pytest.raises(ConfigError, match=r"P3P has no 'backbone', only .*'tokenizer'"):
        PretrainedBlocks(str(path), part="backbone")(p3p_test())
    with pytest.raises(CheckpointError, match=r"holds no tensor named body\."):
        PretrainedBlocks(str(path), source="body")(p3p_test())
