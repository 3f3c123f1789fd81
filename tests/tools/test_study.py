"""tools/study.py: the page says what the finished runs measured, and nothing of those that are not finished."""

import importlib
import re
import sys

import pytest

from mae3d.models.heads.detection.presets import NUSCENES_CLASSES
from tests.tools.finished import finish

ERRORS = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")


@pytest.fixture(scope="module")
def study_of(repository):
    sys.path.insert(0, str(repository / "tools"))
    drives, study = importlib.import_module("drives"), importlib.import_module("study")
    sys.path.remove(str(repository / "tools"))

    def build(folder, seeds):
        experiment = drives.Drives(folder, study.SIZES["cpu"])
        experiment._counts.update({5: 10, 100: 200})  # as if the data were there
        return study.LabelStudy(experiment, [5], seeds, longer=[5])

    return build


def scores(first):
    """Every metric, each a hundredth above the one before."""
    names = ["mAP", "NDS", *ERRORS, *(f"AP_{name}" for name in NUSCENES_CLASSES)]
    return {name: first + number / 100 for number, name in enumerate(names)}


def test_the_page_holds_means_deviations_and_paired_gains(study_of, tmp_path):
    study = study_of(tmp_path, [0, 1, 2])
    scratch, pretrained, longer = study.rows()
    for seed, (before, after) in enumerate(((0.10, 0.14), (0.12, 0.15), (0.20, 0.25))):
        finish(study.run_of(scratch, seed), scores(before))
        if seed < 2:
            finish(study.run_of(pretrained, seed), scores(after))
    study.write(tmp_path / "page.md")
    lines = (tmp_path / "page.md").read_text().splitlines()
    cells = [re.split(r" *\| *", line)[1:-1] for line in lines if line.startswith("| 5 %")]
    assert cells[0] == [
        "5 %",
        "10",
        "random weights",
        "14.0 ± 5.3",
        "15.0 ± 5.3",
        "10.0, 12.0, 20.0",
        "11.0, 13.0, 21.0",
    ]
    assert cells[1][3:6] == ["14.5 ± 0.7", "15.5 ± 0.7", "14.0, 15.0"]
    assert cells[2][2:] == ["random weights, twice as long", "-", "-", "-", "-"]
    assert cells[3] == ["5 %", "3.5 ± 0.7", "3.5 ± 0.7", "+4.0, +3.0", "+4.0, +3.0"]
    assert cells[4][:3] == ["5 %", "random weights", "21.0"]  # AP of the first class
    assert cells[7][2] == "0.160"  # mATE, no percent
    assert longer == (5, "random weights, twice as long")
    assert (
        study.run_of(longer, 0).options["train_cfg.max_epochs"]
        == 2 * study.run_of(scratch, 0).options["train_cfg.max_epochs"]
    )


def test_a_run_with_other_settings_does_not_count(study_of, tmp_path):
    study = study_of(tmp_path, [0])
    row = study.rows()[0]
    finish(study.run_of(row, 0), scores(0.1))
    assert len(study.values(row, "mAP")) == 1
    (study.run_of(row, 0).work_dir / "settings.json").write_text("{}")
    assert len(study.values(row, "mAP")) == 0


@pytest.mark.parametrize("tool", ["demo", "study", "temporal_study"])
@pytest.mark.parametrize("share", ["0", "101"])
def test_a_share_of_labels_out_of_range_is_refused_before_anything_runs(
    repository, monkeypatch, capsys, tmp_path, tool, share
):
    monkeypatch.syspath_prepend(str(repository / "tools"))
    module = importlib.import_module(tool)
    (tmp_path / "file").touch()  # where nothing can be written, work that begins after all ends at once
    monkeypatch.setattr(sys, "argv", [tool, "--labels", share, "--output", str(tmp_path / "file" / "out")])
    with pytest.raises(SystemExit):
        module.main()
    assert f"a share of labels is 1 to 100 percent, got {share}" in capsys.readouterr().err
