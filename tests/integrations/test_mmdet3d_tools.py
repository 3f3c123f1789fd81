"""The example configs through mmdet3d's own training tool, on simulated drives."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmdet3d", reason="mmdet3d is not installed; `make test-mmdet3d` installs it and runs these tests")

from mmdet3d.registry import DATASETS, MODELS
from mmengine.config import Config

from mae3d.checkpoints import save_safetensors
from mae3d.datasets.lidar import prepare
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.models.methods import VoxelMAE

CONFIGS = ("centerpoint_sst_20e_nuscenes", "second_r-mae_40e_kitti")


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_build(repository, name):
    cfg = Config.fromfile(repository / "configs" / "mmdet3d" / f"{name}.py")
    detector = MODELS.build(cfg.model)
    parts = [type(module).__name__ for module in detector.modules() if type(module).__name__.startswith("Mae3d")]
    assert sorted(parts)[0] == "Mae3dDataPreprocessor"
    assert len(parts) == 3
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        innermost = loader.dataset
        while "dataset" in innermost:
            innermost = innermost.dataset
        assert DATASETS.get(innermost.type)
        assert innermost.ann_file.startswith("mae3d_")


def test_a_run_from_pretrained_weights_to_the_official_metric(repository, tmp_path):
    root = tmp_path / "nuscenes"
    write_nuscenes(NuScenesPlan(root, 1, 1, key_frames=2, seed=2))
    assert prepare.prepare("nuscenes", root, prepare.Request(mmdet3d_infos=True)).problems == []
    torch.manual_seed(0)
    pretraining = VoxelMAE(in_channels=5, vfe_channels=(16,), embed_dim=32, depth=1, decoder_depth=1, num_heads=4)
    save_safetensors(pretraining.state_dict(), tmp_path / "voxel_mae.safetensors")
    options = {
        "model.pts_voxel_encoder.channels": "[16,32]",
        "model.pts_voxel_encoder.pretrained": tmp_path / "voxel_mae.safetensors",
        "model.pts_middle_encoder.pretrained": tmp_path / "voxel_mae.safetensors",
        "model.pts_middle_encoder.embed_dim": 32,
        "model.pts_middle_encoder.depth": 1,
        "model.pts_middle_encoder.num_heads": 4,
        "model.pts_backbone.in_channels": 32,
        "model.pts_backbone.layer_nums": "[1,1]",
        "model.pts_backbone.out_channels": "[16,16]",
        "model.pts_neck.in_channels": "[16,16]",
        "model.pts_neck.out_channels": "[16,16]",
        "model.pts_bbox_head.in_channels": 32,
        "model.pts_bbox_head.share_conv_channel": 16,
        "train_cfg.max_epochs": 1,
        "train_cfg.val_interval": 1,
        "train_dataloader.batch_size": 1,
        "val_dataloader.dataset.metainfo.version": "v1.0-mini",
        "val_evaluator.data_root": root,
        "val_evaluator.ann_file": root / "mae3d_nuscenes_infos_mini_val.pkl",
    }
    for loader, split in (("train", "mini_train"), ("val", "mini_val")):
        options |= {
            f"{loader}_dataloader.dataset.data_root": root,
            f"{loader}_dataloader.dataset.ann_file": f"mae3d_nuscenes_infos_{split}.pkl",
            f"{loader}_dataloader.num_workers": 0,
            f"{loader}_dataloader.persistent_workers": False,
        }
    command = [repository / "tools" / "mmdet3d.sh", "train", "configs/mmdet3d/centerpoint_sst_20e_nuscenes.py"]
    command += ["--work-dir", tmp_path / "work", "--cfg-options", *(f"{key}={value}" for key, value in options.items())]
    venv = os.environ.get("MMDET3D_VENV", str(Path(sys.executable).parent.parent))
    environment = {**os.environ, "MMDET3D_VENV": venv, "PYTHONPATH": str(repository)}
    done = subprocess.run(
        list(map(str, command)), cwd=repository, env=environment, capture_output=True, text=True, timeout=1200
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    assert re.search(r"Mae3dVoxelEncoder from .*: 12 tensors loaded, 0 new, 0 of the file unused", output)
    assert re.search(r"Mae3dSST from .*: 24 tensors loaded, 0 new, 0 of the file unused", output)
    assert "NuScenes metric/pred_instances_3d_NuScenes/NDS" in output
    assert (tmp_path / "work" / "epoch_1.pth").exists()
