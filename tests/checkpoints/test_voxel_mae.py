"""Official Voxel-MAE weights to ours and back, and into a detector."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mae3d.checkpoints import convert, export, load_pretrained, save_safetensors
from mae3d.errors import CheckpointError
from mae3d.models.methods import VoxelMAE
from tests.oracles.voxel_mae import random_state


@pytest.fixture(scope="module")
def official():
    torch.manual_seed(0)
    return random_state(128, 64, 8, 6, 10)


def test_round_trip_is_exact(official):
    converted = convert("voxel-mae", official)
    assert converted.parameters == 3_731_104
    back = export("voxel-mae", converted.state)
    assert back.layout.wrapper == "state_dict"
    assert back.state.keys() == official.keys()
    assert all(torch.equal(back.state[name], value) for name, value in official.items())


def test_layers_keep_their_place(official):
    state = convert("voxel-mae", official).state
    for layer in (0, 5, 15):
        name = f"backbone.block_list.{layer // 2}.encoder_list.{layer % 2}.win_attn.self_attn.in_proj_weight"
        assert torch.equal(state[f"encoder.blocks.{layer}.attn.qkv.weight"], official[name])
    assert torch.equal(state["prediction.occupancy.bias"], official["bbox_head.conv_occupied.bias"])


def test_missing_and_foreign_tensors_are_named(official):
    missing = {name: value for name, value in official.items() if name != "neck.block_list.5.encoder_list.1.norm2.bias"}
    with pytest.raises(CheckpointError, match=r"decoder\.transformer\.blocks\.11\.norm2\.bias"):
        convert("voxel-mae", missing)
    with pytest.raises(CheckpointError, match=r"backbone\.conv_layer"):
        convert("voxel-mae", {**official, "backbone.conv_layer.0.weight": torch.zeros(1)})


class _Detector(nn.Module):
    """Encoder under the names that detectors share with pre-training, and something new behind it."""

    fresh = ("head.",)

    def __init__(self) -> None:
        super().__init__()
        model = VoxelMAE()
        self.tokenizer, self.encoder = model.tokenizer, model.encoder
        self.head = nn.Conv2d(128, 8, 1)


@pytest.mark.parametrize("theirs", [True, False])
def test_all_sixteen_layers_reach_a_detector_unchanged(official, tmp_path, theirs):
    state = official if theirs else convert("voxel-mae", official).state
    path = tmp_path / "pretrained.safetensors"
    save_safetensors(state, path)
    detector = _Detector()
    report = load_pretrained(detector, path)
    assert len(report.loaded) == 16 * 12 + 12
    assert report.fresh == ("head.weight", "head.bias")
    back = export("voxel-mae", {**convert("voxel-mae", official).state, **_shared(detector)}).state
    assert all(torch.equal(back[name], value) for name, value in official.items())


def _shared(detector):
    return {name: value for name, value in detector.state_dict().items() if not name.startswith("head.")}
