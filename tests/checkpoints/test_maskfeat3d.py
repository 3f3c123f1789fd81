"""Official MaskFeat3D files, there and back, and the encoder in Point-MAE's fine-tuning network."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained
from mae3d.errors import CheckpointError
from mae3d.models.heads import PointMAEClassifier
from tests.oracles import maskfeat3d as oracle
from tests.oracles import point_mae


@pytest.fixture(scope="module")
def pretrained():
    return oracle.official_state(32, 3, 2)


def test_there_and_back_is_the_same(pretrained):
    conversion = convert("maskfeat3d", pretrained)
    assert conversion.layout.kind == "pretrain"
    back = export("maskfeat3d", conversion.state).state
    assert set(back) == set(pretrained)
    assert all(torch.equal(back[name], value) for name, value in pretrained.items())


def test_published_file():
    official = oracle.official_state(384, 12, 4)
    assert len(official) == 238
    assert "31,343,748 parameters, 0 missing, 0 unexpected" in str(convert("maskfeat3d", official))


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (
            "mlp_normal_output.0.bias",
            r"missing 1 tensor: prediction\.bias; unexpected 1 tensor: mlp_sv_output\.0\.bias",
        ),
        (
            "MAE_decoder.blocks.1.multihead_attn.in_proj_bias",
            r"missing 1 tensor: decoder.blocks.1.memory_attn.qkv.bias",
        ),
    ],
)
def test_a_missing_tensor_is_named(pretrained, gone, named):
    with pytest.raises(CheckpointError, match=named):
        convert("maskfeat3d", {name: value for name, value in pretrained.items() if name != gone})


def test_fine_tuned_files_are_those_of_point_mae(pretrained):
    conversion = convert("maskfeat3d", point_mae.classifier_state(pretrained, 5))
    assert conversion.layout.kind == "classification"


def test_fine_tuning_takes_the_encoder(pretrained, tmp_path):
    torch.save({"base_model": {f"module.{name}": value for name, value in pretrained.items()}}, tmp_path / "ckpt.pth")
    model = PointMAEClassifier(5, num_groups=16, group_size=8, embed_dim=32, depth=3, num_heads=2)
    report = load_pretrained(model, tmp_path / "ckpt.pth")
    assert [n for n in report.fresh if n.startswith("encoder")] == ["encoder.class_token", "encoder.class_position"]
    assert {name.split(".")[0] for name in report.unused} == {"decoder", "prediction"}
    assert torch.equal(model.encoder.norm.bias, pretrained["MAE_encoder.norm.bias"])
