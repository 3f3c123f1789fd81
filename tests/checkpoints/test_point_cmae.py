"""Official Point-CMAE files, there and back, and the encoder in Point-MAE's fine-tuning network."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained, load_weights
from mae3d.errors import CheckpointError
from mae3d.models.heads import PointMAEClassifier
from mae3d.models.methods import point_cmae_base, point_cmae_test
from tests.oracles import point_cmae as oracle
from tests.oracles import point_mae

SIZE = {"num_groups": 16, "group_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}


@pytest.fixture(scope="module")
def pretrained():
    return oracle.official_state(32, 3, 2, 8)


def test_there_and_back_is_the_same(pretrained):
    conversion = convert("point-cmae", pretrained)
    assert conversion.layout.kind == "pretrain"
    back = export("point-cmae", conversion.state).state
    assert set(back) == set(pretrained)
    assert all(torch.equal(back[name], value) for name, value in pretrained.items())


def test_published_file_has_275_tensors():
    conversion = convert("point-cmae", oracle.official_state(384, 12, 4, 32))
    assert str(conversion) == "point-cmae pretrain: 275 tensors, 36,354,240 parameters, 0 missing, 0 unexpected"
    with torch.device("meta"):
        expected = point_cmae_base(class_projection=True).state_dict()
    assert {n: v.shape for n, v in conversion.state.items()} == {n: v.shape for n, v in expected.items()}


def test_a_model_without_the_unused_head_is_written_without_it(pretrained):
    state = export("point-cmae", point_cmae_test().state_dict()).state
    assert set(pretrained) - set(state) == {name for name in pretrained if "proj_cls" in name}
    half = {name: value for name, value in pretrained.items() if "proj_cls.3" not in name}
    with pytest.raises(CheckpointError, match=r"missing 2 tensors: class_projection\.3\.weight"):
        convert("point-cmae", half)


def test_fine_tuned_files_are_those_of_point_mae(pretrained):
    official = point_mae.classifier_state(oracle.branch_state(pretrained, 0), 5)
    conversion = convert("point-cmae", official)
    assert conversion.layout.kind == "classification"
    assert all(torch.equal(v, conversion.state[n]) for n, v in convert("point-mae", official).state.items())


def test_fine_tuning_starts_with_a_new_class_token(pretrained, tmp_path):
    torch.save({"base_model": {f"module.{name}": value for name, value in pretrained.items()}}, tmp_path / "ckpt.pth")
    assert set(load_weights(tmp_path / "ckpt.pth")) == set(pretrained)
    model = PointMAEClassifier(5, **SIZE)
    before = model.encoder.class_token.clone()
    report = load_pretrained(model, tmp_path / "ckpt.pth")
    assert {name.split(".")[0] for name in report.fresh} == {"encoder", "head"}
    assert [n for n in report.fresh if n.startswith("encoder")] == ["encoder.class_token", "encoder.class_position"]
    assert torch.equal(model.encoder.class_token, before)
    own = model.state_dict()
    for name in ("blocks.blocks.2.mlp.fc1.weight", "norm.bias"):
        assert torch.equal(own[f"encoder.{name.removeprefix('blocks.')}"], pretrained[f"MAE_encoder.{name}"])
    unused = {name.split(".")[0] for name in report.unused}
    assert unused == {
        *("class_token", "class_position", "class_projection"),
        *("decoder", "prediction", "second_decoder", "second_prediction"),
    }
