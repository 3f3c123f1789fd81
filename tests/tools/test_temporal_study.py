"""The comparison of systems with an earlier frame: its trainings and tables, from runs that are finished."""

import sys

import pytest

from tests.datasets.test_driving_sequences import write_drive
from tests.engine.runs import ROOT
from tests.tools.finished import finish

sys.path.insert(0, str(ROOT / "tools"))

from drives import Drives
from temporal_study import RECORDED, SIZES, SYSTEMS, RecordedDrive, TemporalStudy, main

sys.path.remove(str(ROOT / "tools"))


@pytest.fixture
def study(tmp_path):
    """Two systems with two seeds; no data is needed to name their trainings."""
    drives = {name: Drives(tmp_path, SIZES["cpu"], SYSTEMS[name]) for name in ("GD-MAE", "T-MAE")}
    for own in drives.values():
        own._counts[100] = 200
    return TemporalStudy(drives, [100], [0, 1])


def scores(precision, error):
    """Metrics of one run."""
    return {"mAP": precision, "NDS": precision / 2, "mAVE": error}


def test_detectors_of_all_seeds_start_from_one_pre_training(study):
    runs = [study.run_of(((100, "T-MAE"), "pre-trained"), seed) for seed in (0, 1)]
    assert len({run.work_dir for run in runs}) == 2
    assert {run.after.work_dir.name for run in runs} == {"t-mae-pretrain-seed0"}
    assert all(
        str(run.options["model.init_cfg.checkpoint"]).endswith("t-mae-pretrain-seed0/epoch_8.pth") for run in runs
    )
    scratch = study.run_of(((100, "T-MAE"), "random weights"), 0)
    assert scratch.after is None
    assert "model.init_cfg.checkpoint" not in scratch.options
    assert scratch.config == runs[0].config != study.run_of(((100, "GD-MAE"), "pre-trained"), 0).config


def test_tables_count_what_is_finished(study):
    for seed, (before, after) in enumerate(((0.10, 0.14), (0.20, 0.21))):
        finish(study.run_of(((100, "GD-MAE"), "random weights"), seed), scores(before, 1.5))
        finish(study.run_of(((100, "GD-MAE"), "pre-trained"), seed), scores(after, 0.5))
    rows = {tuple(row[:2]): row[2:] for row in study.summary()[1:]}
    assert rows["100 %, GD-MAE", "random weights"] == ["15.0 ± 7.1", "7.5 ± 3.5", "1.50", "10.0, 20.0", "5.0, 10.0"]
    assert rows["100 %, GD-MAE", "pre-trained"][2] == "0.50"
    assert rows["100 %, T-MAE", "pre-trained"] == ["-"] * 5
    gains = {row[0]: row[1:] for row in study.gains()[1:]}
    assert gains["100 %, GD-MAE"][2] == "+4.0, +1.0"
    assert gains["100 %, T-MAE"] == ["-"] * 4


def test_a_recorded_drive_changes_the_pre_training_alone(tmp_path):
    drive = write_drive(tmp_path / "drive", frames=9)
    plan = SIZES["cpu"]
    drives = {"T-MAE": Drives(tmp_path, plan, SYSTEMS["T-MAE"]), RECORDED: RecordedDrive(tmp_path, plan, drive)}
    for own in drives.values():
        own._counts |= {20: 40, 100: 200}
    study = TemporalStudy(drives, [20, 100], [0])
    assert study.starts((20, RECORDED)) == ["pre-trained"]
    mine, simulated = (study.run_of(((20, name), "pre-trained"), 0) for name in (RECORDED, "T-MAE"))
    assert mine.config == simulated.config
    changed = {key for key in mine.options if mine.options[key] != simulated.options[key]}
    assert changed == {"model.init_cfg.checkpoint"}
    assert mine.after.options["train_dataloader.dataset.root"] == drive.resolve()
    assert mine.after.options["train_cfg.max_epochs"] == plan.pretrain_steps // (8 // plan.batch_size)  # 8 have a past
    names = [run.name for run in study.trainings()]
    assert len(names) == len(set(names)) == 2 + 2 * 3
    scratch = study.run_of(((20, RECORDED), "random weights"), 0)
    assert scratch.name == study.run_of(((20, "T-MAE"), "random weights"), 0).name


@pytest.mark.parametrize(("frames", "fault"), [(0, "no .bin, .npz or .npy file"), (3, "gaps=[2, 3] reach farther")])
def test_a_folder_without_a_drive_is_refused_before_anything_runs(tmp_path, monkeypatch, capsys, frames, fault):
    drive = write_drive(tmp_path / "drive", frames=frames) if frames else tmp_path
    monkeypatch.setattr(sys, "argv", ["temporal_study", "--drive", str(drive), "--output", str(tmp_path / "out")])
    assert main() == 1
    said = capsys.readouterr().err
    assert said.startswith(f"--drive: {drive}: ")
    assert fault in said
    assert not (tmp_path / "out").exists()
