"""tools/prepare_data.py on driving data: what it finds, what it says is missing, what it builds."""

import importlib.util
import shutil

import numpy as np
import pytest

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.lidar import FrameIndex, Kitti, NuScenes, Once
from mae3d.datasets.lidar.ground_truth import GroundTruthDatabase


@pytest.fixture(scope="module")
def tool(repository):
    spec = importlib.util.spec_from_file_location("prepare_data", repository / "tools" / "prepare_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(tool, capsys, *arguments):
    status = tool.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.fixture(scope="module")
def simulated(tool, tmp_path_factory):
    root = tmp_path_factory.mktemp("drives")
    layouts = ["nuscenes", "kitti", "once"]
    arguments = ["--root", str(root), "--layouts", *layouts, "--scenes", "1", "1", "--frames", "2", "--workers", "0"]
    assert tool.main(["simulated-drives", *arguments]) == 0
    return root


@pytest.fixture
def copy(simulated, tmp_path):
    shutil.copytree(simulated, tmp_path / "copy")
    return tmp_path / "copy"


def test_simulated_layouts_have_indices(simulated):
    assert len(NuScenes(simulated / "nuscenes", "mini_train")) == 2
    assert len(Kitti(simulated / "kitti", "trainval")) == 4
    assert len(Once(simulated / "once", "raw_medium")) == 2
    for name, split in (("kitti", "train"), ("once", "train")):
        index = FrameIndex.load(simulated / name / f"mae3d_{name}_{split}.npz")
        assert (index.num_points >= 0).all()  # counted
        assert index.num_points.max() > 20
    assert not list(simulated.rglob(".mae3d*"))


@pytest.mark.parametrize("name", ["nuscenes", "kitti", "once"])
def test_complete_layouts_pass(tool, simulated, capsys, name):
    status, text = run(tool, capsys, name, "--root", simulated / name, "--workers", 0, "--deep")
    assert status == 0, text
    assert "samples are readable" in text
    assert "made before" in text


def test_missing_and_damaged_sweeps_are_named(tool, copy, capsys):
    files = sorted((copy / "nuscenes" / "sweeps" / "LIDAR_TOP").iterdir())
    files[0].unlink()
    files[1].write_bytes(b"")
    key = next((copy / "nuscenes" / "samples" / "LIDAR_TOP").iterdir())
    key.write_bytes(key.read_bytes()[:-3])
    status, text = run(tool, capsys, "nuscenes", "--root", copy / "nuscenes", "--workers", 0, "--deep")
    assert status == 1
    assert f"files are missing: sweeps/LIDAR_TOP/{files[0].name}" in text
    assert f"files are empty: sweeps/LIDAR_TOP/{files[1].name}" in text
    files[0].write_bytes(files[2].read_bytes())
    files[1].write_bytes(files[2].read_bytes())
    status, text = run(tool, capsys, "nuscenes", "--root", copy / "nuscenes", "--workers", 0, "--deep")
    assert status == 1
    assert f"samples were skipped: {key}" in text


def test_one_broken_split_does_not_stop_the_others(tool, copy, capsys):
    root = copy / "kitti"
    for path in root.glob("*.npz"):
        path.unlink()
    (root / "training" / "label_2" / "000003.txt").write_text("Car 1 2\n")
    status, text = run(tool, capsys, "kitti", "--root", root, "--workers", 0)
    assert status == 1
    assert "000003.txt: line 1 must be one of" in text
    assert sorted(path.name for path in root.glob("*.npz")) == ["mae3d_kitti_train.npz"]
    status, text = run(tool, capsys, "kitti", "--root", root, "--workers", 0, "--splits", "train")
    assert status == 0, text
    assert "made before" in text


def test_check_only_writes_nothing(tool, copy, capsys):
    root = copy / "once"
    for path in root.glob("*.npz"):
        path.unlink()
    status, text = run(tool, capsys, "once", "--root", root, "--workers", 0, "--check-only")
    assert status == 0, text
    assert not list(root.glob("*.npz"))


def test_ground_truth_database(tool, copy, capsys):
    arguments = ("--workers", 0, "--ground-truth-database", "--sweeps", 2)
    status, text = run(tool, capsys, "nuscenes", "--root", copy / "nuscenes", *arguments)
    assert status == 0, text
    database = GroundTruthDatabase.load(copy / "nuscenes" / "mae3d_nuscenes_mini_train_objects_2sweeps.npz")
    assert len(database) > 5
    assert database.points.shape[1] == 5  # with the age of each point


def test_info_files_become_an_index(tool, copy, capsys):
    root = copy / "nuscenes"
    frame = FrameIndex.load(root / "mae3d_nuscenes_mini_val.npz").frame(0)
    info = {"lidar_path": frame.file, "token": "t", "sweeps": [], "timestamp": 1.0}
    info |= {"ref_from_car": np.eye(4), "car_from_global": np.eye(4)}
    save_array_pickle([info], root / "infos.pkl")
    status, text = run(tool, capsys, "nuscenes", "--root", root, "--infos", "infos.pkl", "--splits", "own")
    assert status == 0, text
    assert len(NuScenes(root, "own", index_file="mae3d_nuscenes_own.npz")[0]["points"]) > 1000
    status, text = run(tool, capsys, "nuscenes", "--root", root, "--infos", "infos.pkl")
    assert status == 1
    assert "--infos needs --splits" in text


@pytest.mark.parametrize("name", ["nuscenes", "kitti", "once", "waymo", "argoverse2", "semantickitti"])
def test_an_empty_folder_names_the_expected_layout(tool, tmp_path, capsys, name):
    status, text = run(tool, capsys, name, "--root", tmp_path, "--workers", 0)
    assert status == 1
    assert f"no split of {name} is there: expected" in text


def test_a_damaged_index_is_named(tool, copy, capsys):
    path = copy / "kitti" / "mae3d_kitti_train.npz"
    path.write_bytes(path.read_bytes()[:100])
    status, text = run(tool, capsys, "kitti", "--root", copy / "kitti", "--workers", 0)
    assert status == 1
    assert "not a readable .npz" in text
    status, text = run(tool, capsys, "kitti", "--root", copy / "kitti", "--workers", 0, "--rebuild")
    assert status == 0, text


def test_real_sequences(tool, shared_data, capsys):
    pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "mae3d[argoverse]"')
    root = shared_data / "lidar" / "av2"
    status, text = run(tool, capsys, "argoverse2", "--root", root, "--workers", 0, "--check-only", "--deep")
    assert status == 0, text
    assert "all 2 samples are readable" in text
