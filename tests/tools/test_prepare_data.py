"""tools/prepare_data.py: what it finds, what it says is missing, what it builds."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from mae3d.datasets.objects import ModelNet40, ModelNetFewShot, ScanObjectNN, ShapeNetPart
from mae3d.datasets.objects.caches import build_modelnet_cache
from mae3d.datasets.parallel import ProgressLine, run_parallel
from mae3d.datasets.simulators.claim import MANIFEST
from mae3d.datasets.simulators.objects import layouts
from mae3d.errors import DataError


@pytest.fixture(scope="module")
def tool(repository):
    spec = importlib.util.spec_from_file_location("prepare_data", repository / "tools" / "prepare_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def simulated(tool, tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    names = ["shapenet55", "shapenet_feat", "modelnet40", "modelnet40_hdf5", "shapenetpart"]
    arguments = ["simulated-objects", "--root", str(root), "--count", "56", "--points", "400", "--workers", "0"]
    assert tool.main([*arguments, "--layouts", *names]) == 0
    assert tool.main([*arguments[:3], "--count", "30", "--workers", "0", "--layouts", "scanobjectnn"]) == 0
    return root


def run(tool, capsys, *arguments):
    status = tool.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.mark.parametrize(
    "name", ["shapenet55", "shapenet_feat", "modelnet40", "modelnet40_hdf5", "scanobjectnn", "shapenetpart"]
)
def test_simulated_layouts_pass_their_checks(tool, simulated, capsys, name):
    status, text = run(
        tool, capsys, name, "--root", simulated / tool.simulated_objects.LAYOUTS[name], "--workers", 0, "--deep"
    )
    assert status == 0, text
    assert "problem" not in text
    assert "samples are readable" in text


def test_missing_and_empty_files_are_named(tool, simulated, capsys, tmp_path):
    root = tmp_path / "ShapeNet55-34"
    layouts.write_shapenet55(root, 40, points=64)
    names = (root / "ShapeNet-55" / "train.txt").read_text().split()
    for name in names[:7]:
        (root / "shapenet_pc" / name).unlink()
    (root / "shapenet_pc" / names[8]).write_bytes(b"")
    (root / "ShapeNet-55" / "test.txt").unlink()
    status, text = run(tool, capsys, "shapenet55", "--root", root)
    assert status == 1
    assert f"7 of {len(names)} files are missing: shapenet_pc/{names[0]}, " in text
    assert "and 2 more" in text
    assert f"1 of {len(names)} files are empty: shapenet_pc/{names[8]}" in text
    assert "test.txt: file is missing" in text
    assert "the published set has 41,952" in text


def test_deep_reading_names_damaged_samples(tool, capsys, tmp_path):
    root = tmp_path / "ShapeNet55-34"
    layouts.write_shapenet55(root, 80, points=64)
    name = (root / "ShapeNet-55" / "train.txt").read_text().split()[2]
    np.save(root / "shapenet_pc" / name, np.full((64, 3), np.nan))
    status, text = run(tool, capsys, "shapenet55", "--root", root, "--deep", "--workers", 0)
    assert status == 1
    assert f"samples were skipped: {root / 'shapenet_pc' / name}" in text


def test_nothing_there(tool, capsys, tmp_path):
    for name in ("modelnet40", "modelnet40_hdf5", "scanobjectnn", "shapenetpart", "fewshot"):
        status, text = run(tool, capsys, name, "--root", tmp_path)
        assert status == 1
        assert "problem" in text


def test_fewshot_folds_from_modelnet(tool, simulated, capsys, tmp_path):
    source = simulated / tool.simulated_objects.LAYOUTS["modelnet40"]
    common = ["--root", tmp_path, "--ways", 5, "--shots", 10, "--folds", 2]
    status, text = run(tool, capsys, "fewshot", *common, "--modelnet", source)
    assert status == 1
    assert "only 0 classes have 10 training and 20 test clouds" in text
    big = tmp_path / "big"
    layouts.write_modelnet40(big, 28 * 3, points=8)
    for split, copies in (("train", 5), ("test", 20)):
        listing = big / f"modelnet40_{split}.txt"
        listing.write_text(listing.read_text() * copies)
        layouts_built = build_modelnet_cache(big, split)
        assert layouts_built.exists()
    status, text = run(tool, capsys, "fewshot", *common, "--modelnet", big)
    assert status == 0, text
    assert len(ModelNetFewShot(tmp_path, "test", way=5, shot=10, fold=1)) == 100


def test_same_seed_same_files_and_foreign_folders_are_left_alone(simulated, tool, tmp_path):
    again = tmp_path / "again"
    layouts.write_shapenetpart(again, 56)
    folder = simulated / tool.simulated_objects.LAYOUTS["shapenetpart"]
    files = sorted(path.relative_to(folder) for path in folder.rglob("*.*"))
    assert files == sorted(path.relative_to(again) for path in again.rglob("*.*"))
    assert all((folder / path).read_bytes() == (again / path).read_bytes() for path in files)
    with pytest.raises(DataError, match="holds a simulation with"):
        layouts.write_shapenetpart(again, 56, seed=1)
    (again / MANIFEST).unlink()
    with pytest.raises(DataError, match="holds files that are no simulation"):
        layouts.write_shapenetpart(again, 56)
    assert ShapeNetPart(again, "test")[0]["points"].shape == (2048, 3)


def test_processes_give_the_same_files(tool, simulated, tmp_path):
    layouts.write_modelnet40(tmp_path / "two", 56, points=400, workers=2)
    folder = simulated / tool.simulated_objects.LAYOUTS["modelnet40"]
    for path in (tmp_path / "two").rglob("*.txt"):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path / "two")).read_bytes()


def fail_at_three(number):
    if number == 3:
        raise DataError("number three")
    return number * 2


def test_parallel_order_progress_and_errors():
    seen = []
    assert run_parallel(fail_at_three, [0, 1, 2], progress=lambda *state: seen.append(state)) == [0, 2, 4]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    with pytest.raises(DataError, match="number three"):
        run_parallel(fail_at_three, list(range(6)))


def test_progress_counts_from_the_first_result(monkeypatch, capsys):
    clock = iter([0.0, 30.0, 31.0, 50.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    line = ProgressLine("clouds")
    for done in (1, 2, 21):
        line(done, 21)
    assert capsys.readouterr().err.strip() == "clouds: 21/21, 1/s, 20.0 s"


def test_killed_build_goes_on(tool, repository, tmp_path):
    root = tmp_path / "modelnet"
    layouts.write_modelnet40(root, 84, points=8300)
    command = [sys.executable, "tools/prepare_data.py", "modelnet40", "--root", str(root), "--workers", "0"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen(command, cwd=repository, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and len(list(root.glob(".*parts/*.npy"))) < 5:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in root.glob(".*parts/*.npy") if not path.name.startswith(".")}
    assert len(done) >= 5
    assert not (root / "modelnet40_train_8192pts_fps.dat").exists()
    kept = next(iter(done))
    marked = next(root.glob(".*parts")) / kept
    np.save(marked, np.full((8192, 6), 3, dtype=np.float32))  # would be overwritten by a build that starts anew
    assert tool.main(["modelnet40", "--root", str(root), "--workers", "0"]) == 0
    data = ModelNet40(root, "train", normalize="never", sampling="all")
    index = data.names.index(kept.removesuffix(".npy"))
    assert (data[index]["points"] == 3).all()
    assert not list(root.glob(".*"))


def test_scan_variants_are_all_there(simulated, tool):
    root = simulated / tool.simulated_objects.LAYOUTS["scanobjectnn"]
    assert json.loads((root / MANIFEST).read_text())["variants"] == ["OBJ_BG", "OBJ_ONLY", "PB_T50_RS"]
    assert len(ScanObjectNN(root, variant="PB_T50_RS")) == 75
