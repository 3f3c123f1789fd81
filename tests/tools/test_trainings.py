"""tools/trainings.py with the real command line: runs are made once, in order, and failures are told."""

import importlib.util
import sys

import pytest

from tests.engine.runs import CONFIG


@pytest.fixture(scope="module")
def tool(repository):
    spec = importlib.util.spec_from_file_location("trainings", repository / "tools" / "trainings.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["trainings"] = module
    spec.loader.exec_module(module)
    return module


def test_runs_are_made_once_and_in_order(tool, tmp_path, monkeypatch, repository):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PYTHONPATH", str(repository))  # the config names a hook of the tests
    options = {"train_cfg.max_epochs": 1, "custom_hooks": "[]"}
    first = tool.Training("first", CONFIG, tmp_path / "first", options)
    second = tool.Training("second", CONFIG, tmp_path / "second", {**options, "load_from": first.work_dir}, after=first)
    broken = tool.Training("broken", CONFIG, tmp_path / "broken", {"modle.width": 1})
    after = tool.Training("after", CONFIG, tmp_path / "after", options, after=broken)
    said, lines, order = [], [], []
    errors = tool.run_all([broken, after, first], jobs=2, say=said.append, follow=lines.append, done=order.append)
    assert order == [first]
    assert len(errors) == 1
    assert 'did you mean "model"' in str(errors[0])
    assert not after.work_dir.exists()
    assert first.finished
    assert first.seconds() > 0
    assert first.checkpoint.name == "epoch_1.pth"
    assert len(first.scalars()) == 1
    assert any("loss" in line and line.startswith("first: [1]") for line in lines)

    made = first.checkpoint.stat().st_mtime_ns
    assert not first.run()
    assert first.checkpoint.stat().st_mtime_ns == made
    changed = tool.Training("first", CONFIG, first.work_dir, {**options, "randomness.deterministic": True})
    assert not changed.finished
    assert second._settings()["after"] == first._settings()
