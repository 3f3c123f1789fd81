"""Official Point-MAE files of every kind, there and back."""

import argparse
import runpy
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

from mae3d.checkpoints import convert, export, load_weights
from mae3d.errors import CheckpointError
from mae3d.models.heads import PointMAEClassifier, PointMAESegmenter
from mae3d.models.methods import point_mae_base
from tests.oracles import point_mae as oracle

WIDTH, DEPTH, HEADS, GROUPS, SIZE = 32, 3, 2, 16, 8


@pytest.fixture(scope="module")
def pretrained():
    return oracle.official_state(WIDTH, DEPTH, 2, SIZE)


def official_states(pretrained):
    return {
        "pretrain": pretrained,
        "classification": oracle.classifier_state(pretrained, 5),
        "part_segmentation": oracle.segmenter_state(pretrained, 50),
    }


def official_content(kind, state):
    """What the official training programs put around the weights."""
    if kind == "part_segmentation":
        return {
            "epoch": 3,
            "train_acc": np.float64(0.9),
            "class_avg_iou": np.float64(0.8),
            "inctance_avg_iou": np.float32(0.85),
            "model_state_dict": state,
            "optimizer_state_dict": {"state": {}, "param_groups": [{"lr": 1e-3}]},
        }
    return {
        "base_model": {f"module.{name}": value for name, value in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
        "epoch": 300,
        "metrics": {"acc": torch.tensor(93.2)},
        "best_metrics": {"acc": np.float64(93.5)},
        "args": argparse.Namespace(seed=0),
    }


@pytest.mark.parametrize("kind", ["pretrain", "classification", "part_segmentation"])
def test_there_and_back_is_the_same(kind, pretrained):
    official = official_states(pretrained)[kind]
    ours = convert("point-mae", official)
    assert ours.layout.kind == kind
    back = export("point-mae", ours.state)
    assert back.layout.kind == kind
    assert back.parameters == ours.parameters
    assert set(back.state) == set(official)
    for name, value in official.items():
        assert torch.equal(back.state[name], value), name


def test_published_pretraining_file_has_209_tensors():
    conversion = convert("point-mae", oracle.official_state(384, 12, 4, 32))
    assert str(conversion) == "point-mae pretrain: 209 tensors, 29,006,432 parameters, 0 missing, 0 unexpected"
    with torch.device("meta"):
        expected = point_mae_base().state_dict()
    assert {name: value.shape for name, value in conversion.state.items()} == {
        name: value.shape for name, value in expected.items()
    }


def test_classifier_equals_the_restated_forward(pretrained):
    official = oracle.classifier_state(pretrained, 5)
    model = PointMAEClassifier(
        5, num_groups=GROUPS, group_size=SIZE, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS
    ).eval()
    model.load_state_dict(convert("point-mae", official).state)
    points = torch.randn(3, 96, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        model(points), oracle.classify(points, official, HEADS, GROUPS, SIZE), rtol=1e-4, atol=1e-5
    )


def test_segmenter_equals_the_restated_forward(pretrained):
    official = oracle.segmenter_state(pretrained, 50)
    model = PointMAESegmenter(
        num_groups=GROUPS, group_size=SIZE, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, layers=(0, 1, 2)
    ).eval()
    model.load_state_dict(convert("point-mae", official).state)
    points = torch.randn(3, 96, 3, generator=torch.Generator().manual_seed(0))
    label = torch.tensor([0, 7, 15])
    expected = oracle.segment(points, label, official, HEADS, GROUPS, SIZE, (0, 1, 2))
    torch.testing.assert_close(model(points, label=label), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def tool(repository, monkeypatch, capsys):
    """Runs the command line in this process -> (what it printed, why it stopped)."""

    def run(*arguments):
        path = repository / "tools" / "convert_checkpoint.py"
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        stopped = None
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as error:
            stopped = str(error)
        return capsys.readouterr().out, stopped

    return run


@pytest.mark.parametrize("kind", ["classification", "part_segmentation"])
def test_command_line_both_ways(kind, pretrained, tool, tmp_path):
    official = official_states(pretrained)[kind]
    torch.save(official_content(kind, official), tmp_path / "official.pth")
    printed, stopped = tool("point-mae", tmp_path / "official.pth", "-o", tmp_path / "ours.safetensors")
    assert stopped is None
    assert f"point-mae {kind}: {len(official)} tensors" in printed
    with safe_open(tmp_path / "ours.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "system": "point-mae", "kind": kind}
    assert tool("point-mae", tmp_path / "ours.safetensors", "-o", tmp_path / "back.pth", "--export")[1] is None
    original, back = (torch.load(tmp_path / name, weights_only=False) for name in ("official.pth", "back.pth"))
    wrapper = "model_state_dict" if kind == "part_segmentation" else "base_model"
    assert set(back[wrapper]) == set(original[wrapper])
    assert all(torch.equal(back[wrapper][name], value) for name, value in original[wrapper].items())


def test_command_line_says_what_is_wrong(tool, tmp_path, pretrained):
    broken = {name: value for name, value in pretrained.items() if name != "MAE_encoder.norm.bias"}
    torch.save({"base_model": broken}, tmp_path / "broken.pth")
    _, stopped = tool("point-mae", tmp_path / "broken.pth", "-o", tmp_path / "ours.safetensors")
    assert stopped.startswith("error: point-mae pretrain file does not fit: missing 1 tensor: encoder.norm.bias")
    assert not (tmp_path / "ours.safetensors").exists()


def test_every_misfit_is_listed(pretrained):
    broken = {name: value for name, value in pretrained.items() if name != "mask_token"}
    broken["lm_head.weight"] = torch.zeros(2, 2)
    broken["decoder_pos_embed.0.weight"] = torch.zeros(128, 4)
    with pytest.raises(CheckpointError) as raised:
        convert("point-mae", broken)
    message = str(raised.value)
    assert "missing 1 tensor: decoder.mask_token" in message
    assert "unexpected 1 tensor: lm_head.weight" in message
    assert "decoder.position_embedding.0.weight is [128, 4] in the file, [128, 3] in the model" in message


def test_unknown_files_and_systems_are_named(pretrained):
    with pytest.raises(CheckpointError, match="not an official point-mae file"):
        convert("point-mae", {"weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="not a point-mae model of ours"):
        export("point-mae", pretrained)
    with pytest.raises(CheckpointError, match="no key map for system 'point-x'"):
        convert("point-x", pretrained)
    with pytest.raises(CheckpointError, match=r"missing encoder\.norm\.weight"):
        convert("point-mae", {"increase_dim.0.weight": torch.zeros(24, 8, 1)})


def test_numpy_values_and_arguments_are_read_without_running_code(tmp_path, pretrained):
    for kind, state in official_states(pretrained).items():
        torch.save(official_content(kind, state), tmp_path / f"{kind}.pth")
        assert set(load_weights(tmp_path / f"{kind}.pth")) == set(state)
