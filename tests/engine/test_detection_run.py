"""A detector through the real command line: training on simulated drives, the metric of the benchmark at the end, the
submission, the sensing budget, damaged files that are skipped."""

import json
import re

import numpy as np
import pytest

from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.engine.config import load_config
from mae3d.engine.run import choose_test_split
from mae3d.engine.sensing_budget import sensing_budget
from mae3d.errors import ConfigError
from tests.engine.runs import ROOT, run

CONFIG = str(ROOT / "configs" / "detection" / "sst_tiny_20e_simulated-drives.py")
SMALL = ("model.embed_dim=16", "model.encoder.depth=1", "model.pillar=3.2")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Data set, work directory and output of one epoch with one damaged sweep."""
    folder = tmp_path_factory.mktemp("detection")
    root, work = folder / "nuscenes", folder / "work"
    write_nuscenes(NuScenesPlan(root, 2, 1, key_frames=2, seed=3))
    broken = root / read_nuscenes(root, "mini_train").frame(1).file
    broken.write_bytes(broken.read_bytes()[:-7])
    output = run(
        CONFIG,
        "--work-dir",
        str(work),
        "--cfg-options",
        f"train_dataloader.dataset.root={root}",
        "train_dataloader.dataset.on_error=skip",
        f"val_dataloader.dataset.root={root}",
        f"val_evaluator.dataset.root={root}",
        "train_dataloader.dataset.split=mini_train",
        "val_dataloader.dataset.split=mini_val",
        "val_evaluator.dataset.split=mini_val",
        "train_cfg.max_epochs=1",
        "train_cfg.val_interval=1",
        *SMALL,
    )
    return root, work, broken, output


def tool(root, work, *arguments, **options):
    places = (f"test_dataloader.dataset.root={root}", f"test_evaluator.dataset.root={root}")
    places += ("test_dataloader.dataset.split=mini_val", "test_evaluator.dataset.split=mini_val")
    checkpoint = str(work / "epoch_1.pth")
    command = (CONFIG, checkpoint, "--work-dir", str(work / "test"), *arguments, "--cfg-options", *places, *SMALL)
    return run(*command, tool="tools/test.py", **options)


@pytest.mark.slow
def test_training_ends_with_the_benchmark_metric(trained):
    _, work, broken, output = trained
    assert "nuscenes/NDS" in output, output[-3000:]
    assert (work / "epoch_1.pth").exists()
    assert f"train: 1 of 4 samples were skipped: {broken}" in output


@pytest.mark.slow
def test_submission_and_sensing_budget(trained):
    root, work, _, _ = trained
    file = work / "results.json"
    output = tool(root, work, "--split", "mini_val", "--submission", str(file))
    assert f"submission of 2 frames written to {file}" in output
    submission = json.loads(file.read_text())
    assert submission["results"].keys() == set(read_nuscenes(root, "mini_val").token)

    table = work / "budget.md"
    tool(root, work, "--sensing-budget", "0", "0.75", "--sector-degrees", "10", "--out", str(table))
    rows = [re.split(r" *\| *", line)[1:-1] for line in table.read_text().splitlines()]
    assert rows[0][1:6] == ["points saved", "pulses saved", "energy saved", "nuscenes/mAP", "nuscenes/NDS"]
    assert rows[2][:4] == ["0% of the sectors skipped", "0.0%", "0.0%", "0.0%"]
    assert rows[3][2] == "75.0%"  # 27 of 36 sectors
    np.testing.assert_allclose(float(rows[3][1][:-1]), 75, atol=12)


def test_impossible_budgets_are_named():
    with pytest.raises(ConfigError, match=r"ratios must lie in \[0, 1\), got \[1.5\]"):
        sensing_budget(load_config(CONFIG), [1.5])
    cfg = load_config(ROOT / "configs" / "voxel_mae" / "voxel-mae_tiny_20e_drive.py")
    with pytest.raises(ConfigError, match="a pre-training run is not tested"):
        choose_test_split(cfg, "val", None)
    objects = load_config(ROOT / "configs" / "point_mae" / "point-mae_small_300e_modelnet40-1k.py")
    with pytest.raises(ConfigError, match="writes no submission"):
        choose_test_split(objects, None, "out.json")
