"""Official R-MAE files, there and back."""

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained, load_weights
from mae3d.errors import CheckpointError
from mae3d.models.backbones import VoxelBackBone8x, VoxelResBackBone8x
from mae3d.models.heads.detection import second_kitti
from mae3d.models.methods import r_mae
from tests.oracles import r_mae as oracle


def spconv1(state):
    return {
        name: value.movedim(0, -1).contiguous() if value.dim() == 5 and "deconv" not in name else value
        for name, value in state.items()
    }


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_there_and_back_is_the_same(kind):
    official = oracle.official_state(kind, in_channels=5)
    ours = convert("r-mae", official)
    assert ours.layout.kind == "pretrain"
    back = export("r-mae", ours.state).state
    assert list(back) == list(official)
    assert all(torch.equal(back[name], official[name]) for name in official if name != "global_step")
    published = {"conv_input.0": (16, 3, 3, 3, 5), "conv_out.0": (128, 3, 1, 1, 64 if kind == "plain" else 128)}
    assert all(back[f"backbone_3d.{name}.weight"].shape == shape for name, shape in published.items())


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_weights_of_spconv_1_are_turned(kind):
    official = oracle.official_state(kind)
    new, old = convert("r-mae", official).state, convert("r-mae", spconv1(official)).state
    assert all(torch.equal(new[name], old[name]) for name in new)


def test_official_file_is_read(tmp_path):
    official = oracle.official_state()
    content = {"epoch": 30, "it": 100, "model_state": official, "optimizer_state": None, "version": "pcdet+0.6.0"}
    torch.save(content, tmp_path / "checkpoint_epoch_30.pth")
    assert convert("r-mae", load_weights(tmp_path / "checkpoint_epoch_30.pth")).parameters > 600_000


class Detector(torch.nn.Module):
    fresh = ("head",)

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder
        self.head = torch.nn.Linear(4, 4)


def test_the_encoder_enters_a_detector_whole(tmp_path):
    torch.save({"model_state": oracle.official_state()}, tmp_path / "plain.pth")
    report = load_pretrained(Detector(VoxelBackBone8x(4)), tmp_path / "plain.pth")
    assert len(report.loaded) == 12 * 6
    assert report.fresh == ("head.weight", "head.bias")
    assert all(name.startswith("decoder.") for name in report.unused)


def test_biases_of_a_residual_detector_are_the_only_ones_missing(tmp_path):
    torch.save({"model_state": oracle.official_state("residual")}, tmp_path / "residual.pth")
    without = load_pretrained(Detector(VoxelResBackBone8x(4, bias=False)), tmp_path / "residual.pth")
    assert without.fresh == ("head.weight", "head.bias")
    detector = Detector(VoxelResBackBone8x(4))
    with pytest.raises(CheckpointError, match="lacks 16 tensors"):
        load_pretrained(detector, tmp_path / "residual.pth")


def test_a_missing_tensor_is_named():
    official = oracle.official_state()
    del official["backbone_3d.conv3.1.0.weight"]
    with pytest.raises(CheckpointError, match=r"missing 1 tensor: encoder\.conv3\.1\.0\.weight"):
        convert("r-mae", official)


def test_a_pretraining_run_starts_a_detector(tmp_path):
    torch.save({"state_dict": r_mae().state_dict()}, tmp_path / "run.pth")
    report = load_pretrained(second_kitti(), tmp_path / "run.pth")
    assert len(report.loaded) == 12 * 6
    assert all(name.startswith("decoder.") for name in report.unused)
