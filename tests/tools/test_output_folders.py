"""Every tool that writes a folder says before it works where the folder cannot be, and why."""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from pathlib import Path

import pytest

from mae3d.engine.storage import make_folder
from mae3d.errors import ConfigError

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"
TOOLS = {
    "demo": ["--output"],
    "demo_objects": ["--output"],
    "study": ["--output"],
    "temporal_study": ["--output"],
    "generation_demo": ["--output"],
    "compare": [str(CONFIGS / "compare" / "points_tiny.py"), "--output"],
    "sample": [str(CONFIGS / "fastdit3d" / "fastdit3d_tiny_300_simulated.py"), "--out"],
}


@pytest.mark.parametrize("tool", TOOLS)
def test_a_folder_that_cannot_be_is_named_with_the_reason(repository, monkeypatch, capsys, tool):
    if not os.path.isdir("/proc"):
        pytest.skip("there is no /proc, a folder in which the system creates nothing")
    monkeypatch.syspath_prepend(str(repository / "tools"))
    module = importlib.import_module(tool)
    *arguments, option = TOOLS[tool]
    monkeypatch.setattr(sys, "argv", [tool, *arguments, option, "/proc/made/here"])
    message = f"{option}: the folder /proc/made/here cannot be created in /proc: No such file or directory."
    try:
        status = module.main()
    except SystemExit as end:  # some end with the message itself
        status = end.code
    assert message in (status if isinstance(status, str) else capsys.readouterr().err)
    assert status != 0


@pytest.mark.parametrize("tool", ["study", "temporal_study"])
def test_a_report_that_cannot_be_is_named_before_anything_runs(repository, monkeypatch, capsys, tmp_path, tool):
    (tmp_path / "file").touch()
    report = tmp_path / "file" / "pages" / "study.md"
    monkeypatch.syspath_prepend(str(repository / "tools"))
    monkeypatch.setattr(sys, "argv", [tool, "--output", str(tmp_path / "out"), "--report", str(report)])
    module = importlib.import_module(tool)
    monkeypatch.setattr(module.Drives, "simulate", lambda *_, **__: pytest.fail("the study has begun"))
    assert module.main() == 1
    assert f"--report: the folder {report.parent} cannot be created" in capsys.readouterr().err


def test_metrics_that_cannot_be_written_are_not_measured(repository, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "results" / "metrics.json"
    arguments = ["no_config.py", str(tmp_path / "file"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["test.py", *arguments])
    with pytest.raises(SystemExit, match=f"--out: the folder {out.parent} cannot be created"):
        runpy.run_path(str(repository / "tools" / "test.py"), run_name="__main__")


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "taken").touch()
    with pytest.raises(ConfigError, match=r"--output: the folder .*taken cannot be created in .*: File exists"):
        make_folder(tmp_path / "taken", "--output")
    assert make_folder(tmp_path / "a" / "b", "--output").is_dir()
    assert make_folder(tmp_path / "a" / "b", "--output").is_dir()
