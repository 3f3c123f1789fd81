"""tools/visualize.py on a raw file and on a drive in a folder."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

CONFIG = "configs/voxel_mae/voxel-mae_tiny_20e_simulated-drives.py"


def run(repository, *arguments, config=CONFIG):
    return subprocess.run(
        [sys.executable, "tools/visualize.py", config, *map(str, arguments)],
        cwd=repository,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.fixture
def cloud():
    return np.random.default_rng(0).uniform((-40, -40, -2, 0), (40, 40, 2, 1), (3000, 4)).astype(np.float32)


def test_a_raw_file_is_drawn(repository, cloud, tmp_path):
    cloud.tofile(tmp_path / "frame.bin")
    done = run(repository, "--points", tmp_path / "frame.bin", "-o", tmp_path / "picture.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("config", [CONFIG, "configs/r_mae/r-mae_tiny_30e_simulated.py"])
def test_an_archive_is_drawn_by_either_system(repository, cloud, tmp_path, config):
    np.savez(tmp_path / "frame.npz", points=cloud)
    done = run(repository, "--points", tmp_path / "frame.npz", "-o", tmp_path / "picture.png", config=config)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").exists()
    wrong = run(repository, "--points", tmp_path / "absent.npz", config=config)
    assert "DataError" in wrong.stderr
    assert "absent.npz: file is missing" in wrong.stderr


def test_a_sample_of_another_data_set_is_drawn_and_a_wrong_number_is_named(repository, cloud, tmp_path):
    cloud.tofile(tmp_path / "000000.bin")
    cloud.tofile(tmp_path / "000001.bin")
    drive = ("--dataset", "type=SequenceFolder", f"root={tmp_path}", "features=[]", "lag=True")
    done = run(repository, *drive, "--index", 1, "-o", tmp_path / "picture.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "picture.png").exists()
    wrong = run(repository, *drive, "--index", 2)
    assert wrong.returncode == 1
    assert "--index 2: the data set has 2 samples" in wrong.stderr


def test_detections_of_a_raw_file_are_drawn_in_perspective(repository, cloud, tmp_path):
    cloud.tofile(tmp_path / "frame.bin")
    view = ("--view", "perspective", "-o", tmp_path / "found.png")
    detector = "configs/detection/sst_tiny_20e_simulated-drives.py"
    done = run(repository, "--points", tmp_path / "frame.bin", *view, config=detector)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "found.png").read_bytes()[:4] == b"\x89PNG"
