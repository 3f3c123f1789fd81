"""Official weights of GD-MAE and T-MAE to ours and back, and into their detectors."""

from __future__ import annotations

import pytest
import torch

from mae3d.checkpoints import convert, export, load_pretrained, save_safetensors
from mae3d.errors import CheckpointError
from mae3d.models.heads.detection import (
    gd_mae_centerpoint,
    gd_mae_kitti_anchors,
    gd_mae_two_stage,
    t_mae_centerpoint,
)
from mae3d.models.methods import gd_mae_once, t_mae_once
from tests.oracles import graph_rcnn
from tests.oracles.t_mae import random_state

PUBLISHED = {"widths": (128, 256, 256), "depth": 2, "hidden": 64, "fused": 128, "predicted": 16}
BUILD = {"t-mae": (t_mae_once, t_mae_centerpoint), "gd-mae": (gd_mae_once, gd_mae_centerpoint)}


@pytest.fixture(scope="module", params=["t-mae", "gd-mae"])
def files(request):
    """System, its official pre-training file and its official detector."""
    torch.manual_seed(0)
    temporal = request.param == "t-mae"
    classes = 5 if temporal else 3
    columns = 4 if temporal else 5
    detector = random_state(temporal=temporal, columns=columns, detector_classes=classes, **PUBLISHED)
    return request.param, random_state(temporal=temporal, columns=columns, **PUBLISHED), detector


def test_round_trips_are_exact(files):
    system, pretrain, detector = files
    for official, kind in ((pretrain, "pretrain"), (detector, "detector")):
        counter = {"global_step": torch.zeros(1, dtype=torch.int64)}
        converted = convert(system, official | counter)
        assert converted.layout.kind == kind
        back = export(system, converted.state)
        assert back.layout.wrapper == "model_state"
        assert back.state.keys() == official.keys() | counter.keys()
        assert all(torch.equal(back.state[name], value) for name, value in official.items())
    assert convert("t-mae", random_state(**PUBLISHED)).parameters == 11_793_218


def test_layers_keep_their_place(files):
    system, pretrain, _ = files
    state = convert(system, pretrain).state
    official = "backbone_3d.sst_blocks.2.encoder_blocks.1.encoder_list.0.win_attn.self_attn"
    assert torch.equal(
        state["encoder.stages.2.transformer.blocks.2.attn.qkv.weight"], pretrain[f"{official}.in_proj_weight"]
    )
    assert torch.equal(state["encoder.stages.2.transformer.blocks.2.attn.tau"], pretrain[f"{official}.tau"])
    if system == "t-mae":
        official = "backbone_3d.wca_blocks.1.encoder_blocks.0.encoder_list.1.norm2.bias"
        assert torch.equal(state["encoder.cross.1.blocks.1.norm2.bias"], pretrain[official])


def test_what_does_not_fit_is_named(files):
    system, pretrain, detector = files
    name = "backbone_3d.sst_blocks.1.conv_down.0.weight"
    with pytest.raises(CheckpointError, match=r"missing 1 tensor: encoder\.stages\.1\.down\.0\.weight"):
        convert(system, {key: value for key, value in pretrain.items() if key != name})
    with pytest.raises(CheckpointError, match=r"unexpected .*backbone_3d\.extra"):
        convert(system, {**detector, "backbone_3d.extra": torch.zeros(1)})
    other = "gd-mae" if system == "t-mae" else "t-mae"
    with pytest.raises(CheckpointError):
        convert(other, pretrain)
    with pytest.raises(CheckpointError, match="not an official openpcdet file"):
        convert("openpcdet", detector)


@pytest.mark.parametrize("theirs", [True, False])
def test_encoders_reach_the_detector_unchanged(files, tmp_path, theirs):
    system, pretrain, _ = files
    path = tmp_path / "pretrained.safetensors"
    converted = convert(system, pretrain).state
    save_safetensors(pretrain if theirs else converted, path)
    columns = pretrain["vfe.dvfe_mlps.0.0.weight"].shape[1] - 6
    detector = BUILD[system][1](in_channels=columns)
    report = load_pretrained(detector, path)
    shared = {name for name in converted if name.startswith(("tokenizer.", "encoder."))}
    assert set(report.loaded) == shared
    assert len(shared) == (294 if system == "t-mae" else 198)
    assert all(name.startswith(("bev_backbone.", "head.")) for name in report.fresh)
    state = detector.state_dict()
    assert all(torch.equal(state[name], converted[name]) for name in shared)


def test_official_detectors_load_into_ours(files):
    system, _, official = files
    classes = official["dense_head.heads_list.0.hm.1.weight"].shape[0]
    columns = official["vfe.dvfe_mlps.0.0.weight"].shape[1] - 6
    detector = BUILD[system][1]([str(n) for n in range(classes)], in_channels=columns)
    detector.load_state_dict(convert(system, official).state)


def test_detectors_with_anchors_convert_too():
    """GD-MAE on KITTI: 2 rotations of 3 anchors, 3 classes."""
    torch.manual_seed(0)
    official = random_state(temporal=False, detector_classes=3, **PUBLISHED)
    official = {name: value for name, value in official.items() if not name.startswith("dense_head.")}
    for name, outputs in (("conv_cls", 18), ("conv_box", 42), ("conv_dir_cls", 12)):
        official[f"dense_head.{name}.weight"] = torch.randn(outputs, 128, 1, 1)
        official[f"dense_head.{name}.bias"] = torch.randn(outputs)
    converted = convert("gd-mae", official)
    assert converted.layout.kind == "detector"
    gd_mae_kitti_anchors().load_state_dict(converted.state)
    assert export("gd-mae", converted.state).state.keys() == official.keys() | {"global_step"}


@pytest.mark.parametrize("counters", [True, False])
def test_two_stages_convert_too(counters, tmp_path):
    """Published files have a frozen first stage, whose norms are written without their counters."""
    torch.manual_seed(0)
    first = random_state(temporal=False, columns=5, detector_classes=3, **PUBLISHED)
    second = graph_rcnn.official_state()
    bare = {name: value for name, value in first.items() if not name.endswith("num_batches_tracked")}
    assert len(bare) < len(first)
    official = {**(first if counters else bare), **second}
    converted = convert("gd-mae", official)
    assert converted.layout.kind == "two-stage"
    model = gd_mae_two_stage()
    model.load_state_dict(converted.state)
    back = export("gd-mae", converted.state).state
    assert back.keys() == {*bare, *second, "global_step"}
    assert all(torch.equal(back[name], value) for name, value in {**bare, **second}.items())
    # The one-stage file is where a second stage starts.
    save_safetensors(first, tmp_path / "first.safetensors")
    report = load_pretrained(gd_mae_two_stage(), tmp_path / "first.safetensors")
    assert all(name.startswith("refiner.") for name in report.fresh)
    save_safetensors(random_state(temporal=False, columns=5, **PUBLISHED), tmp_path / "encoder.safetensors")
    with pytest.raises(CheckpointError, match=r"lacks .*bev_backbone\.0.*Only tensors named refiner\. may be new"):
        load_pretrained(gd_mae_two_stage(), tmp_path / "encoder.safetensors")
    load_pretrained(gd_mae_two_stage(freeze_first=False), tmp_path / "encoder.safetensors")
