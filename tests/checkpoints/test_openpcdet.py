"""Detectors under OpenPCDet's names, both ways, and encoders of R-MAE in them."""

import subprocess
import sys

import pytest
import torch

from mae3d.checkpoints import convert, export
from mae3d.errors import CheckpointError
from mae3d.models.heads.detection import (
    centerpoint_kitti,
    centerpoint_nuscenes,
    centerpoint_pillar,
    centerpoint_waymo,
    second_kitti,
    second_nuscenes,
    second_once,
    second_waymo,
)
from mae3d.registry import MODELS
from tests.oracles import openpcdet as oracle

NAMES = {
    second_kitti: {
        "backbone_3d.conv_input.0.weight": (16, 3, 3, 3, 4),
        "backbone_2d.blocks.0.1.weight": (128, 256, 3, 3),
        "backbone_2d.deblocks.1.0.weight": (256, 256, 2, 2),
        "dense_head.conv_cls.weight": (18, 512, 1, 1),
        "dense_head.conv_box.weight": (42, 512, 1, 1),
        "dense_head.conv_dir_cls.bias": (12,),
    },
    centerpoint_nuscenes: {
        "backbone_3d.conv4.1.bn2.running_var": (128,),
        "dense_head.shared_conv.0.weight": (64, 512, 3, 3),
        "dense_head.heads_list.1.hm.1.weight": (2, 64, 3, 3),
        "dense_head.heads_list.5.vel.0.0.weight": (64, 64, 3, 3),
        "dense_head.heads_list.0.rot.0.1.running_mean": (64,),
    },
    second_waymo: {"backbone_3d.conv_input.0.weight": (16, 3, 3, 3, 5), "dense_head.conv_cls.weight": (18, 512, 1, 1)},
    second_once: {"dense_head.conv_cls.weight": (50, 512, 1, 1), "dense_head.conv_box.weight": (70, 512, 1, 1)},
    second_nuscenes: {"dense_head.conv_cls.weight": (140, 512, 1, 1)},
    centerpoint_kitti: {"dense_head.shared_conv.0.weight": (64, 256, 3, 3)},
    centerpoint_waymo: {"dense_head.heads_list.0.hm.1.bias": (3,)},
    centerpoint_pillar: {"vfe.pfn_layers.0.linear.weight": (32, 11), "vfe.pfn_layers.1.norm.weight": (64,)},
}


@pytest.mark.parametrize("build", NAMES, ids=lambda build: build.__name__)
def test_names_both_ways(build):
    with torch.device("meta"):
        ours = build().state_dict()
    official = export("openpcdet", ours).state
    for name, shape in NAMES[build].items():
        assert tuple(official[name].shape) == shape
    again = convert("openpcdet", official)
    assert again.state.keys() == ours.keys()
    del official[next(iter(NAMES[build]))]
    with pytest.raises(CheckpointError):
        convert("openpcdet", official)


@pytest.mark.parametrize("build", [centerpoint_nuscenes, centerpoint_waymo, centerpoint_kitti])
def test_published_files_have_biases_before_norms(build):
    with torch.device("meta"):
        ours = build(head_bias=True).state_dict()
    official = export("openpcdet", ours).state
    assert official["dense_head.shared_conv.0.bias"].shape == (64,)
    assert official["dense_head.heads_list.0.center.0.0.bias"].shape == (64,)
    assert convert("openpcdet", official).state.keys() == ours.keys()


@pytest.mark.parametrize(
    ("pretraining", "detector"),
    [
        ({"type": "r_mae"}, {"type": "second_kitti"}),
        ({"type": "r_mae_residual"}, {"type": "centerpoint_nuscenes", "residual_bias": False}),
    ],
)
def test_what_r_mae_learned_fits_the_detector(pretraining, detector):
    with torch.device("meta"):
        theirs, ours = MODELS.build(pretraining).state_dict(), MODELS.build(detector).state_dict()
    encoder = {name for name in ours if name.startswith("encoder.")}
    assert encoder == {name for name in theirs if name.startswith("encoder.")}
    different = {name for name in encoder if theirs[name].shape != ours[name].shape}
    assert different <= {"encoder.conv_input.0.weight"}  # the columns of the points are the data set's


@pytest.mark.parametrize(
    ("kind", "columns", "build", "options"),
    [("second", 4, second_kitti, {}), ("centerpoint", 5, centerpoint_nuscenes, {"head_bias": True})],
)
def test_an_exported_file_has_the_names_and_shapes_of_openpcdet(kind, columns, build, options):
    with torch.device("meta"):
        official = export("openpcdet", build(**options).state_dict()).state
    assert {name: tuple(value.shape) for name, value in official.items()} == oracle.detector(kind, columns)


def test_one_command_exports_a_training_checkpoint(repository, tmp_path):
    detector = second_kitti()
    trained = {"state_dict": detector.state_dict(), "meta": {"epoch": 80}, "message_hub": {}}
    torch.save(trained, tmp_path / "epoch_80.pth")
    command = [sys.executable, "-W", "ignore", str(repository / "tools" / "convert_checkpoint.py"), "openpcdet"]
    command += [str(tmp_path / "epoch_80.pth"), "-o", str(tmp_path / "second.pth"), "--export"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "openpcdet second: 163 tensors, 5,325,576 parameters, 0 missing, 0 unexpected" in done.stdout
    file = torch.load(tmp_path / "second.pth", weights_only=True)
    assert list(file) == ["model_state"]
    weights = detector.encoder.state_dict()["conv_input.0.weight"]
    assert torch.equal(file["model_state"]["backbone_3d.conv_input.0.weight"], weights)
