"""A detector through the real command line: training on simulated drives, the metric of the benchmark at the end."""

import json
from pathlib import Path

import pytest

from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from tests.engine.runs import ROOT, run

CONFIG = ROOT / "configs" / "detection" / "sst_tiny_20e_simulated-drives.py"


@pytest.mark.slow
def test_training_ends_with_the_benchmark_metric(tmp_path):
    root = tmp_path / "nuscenes"
    write_nuscenes(NuScenesPlan(root, 1, 1, key_frames=2, seed=3))
    output = run(
        str(CONFIG),
        "--work-dir",
        str(tmp_path / "work"),
        "--cfg-options",
        f"train_dataloader.dataset.root={root}",
        f"val_dataloader.dataset.root={root}",
        f"val_evaluator.dataset.root={root}",
        f"val_evaluator.submission={tmp_path / 'submission.json'}",
        "train_cfg.max_epochs=1",
        "train_cfg.val_interval=1",
        "model.embed_dim=16",
        "model.encoder.depth=1",
    )
    assert "nuscenes/NDS" in output, output[-3000:]
    assert (tmp_path / "work" / "epoch_1.pth").exists()
    submission = json.loads(Path(tmp_path / "submission.json").read_text())
    assert len(submission["results"]) == 2
