import json
from dataclasses import replace

import numpy as np
import pytest

from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.lidar.nuscenes_tables import TABLES, scene_names
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(NuScenesPlan(root, 1, 1, key_frames=3, seed=5))
    return root


def test_official_splits_have_the_official_sizes():
    sizes = {split: len(scene_names(split)) for split in ("train", "val", "test", "mini_train", "mini_val")}
    assert sizes == {"train": 700, "val": 150, "test": 150, "mini_train": 8, "mini_val": 2}
    assert not set(scene_names("train")) & set(scene_names("val"))
    assert set(scene_names("mini_val")) <= set(scene_names("val"))


def test_tables_refer_to_each_other(simulated):
    folder = simulated / "v1.0-mini"
    tables = {name: json.loads((folder / f"{name}.json").read_text()) for name in TABLES}
    tokens = {record["token"] for records in tables.values() for record in records}
    for records in tables.values():
        for record in records:
            for key, value in record.items():
                if key.endswith("_token") or key in ("prev", "next"):
                    assert value == "" or value in tokens, (key, value)
                if key.endswith("_tokens"):
                    assert set(value) <= tokens
    assert len({r["token"] for r in tables["sample_data"]}) == len(tables["sample_data"]) == 2 * 21
    for record in tables["sample_data"]:
        points = np.fromfile(simulated / record["filename"], dtype=np.float32).reshape(-1, 5)
        assert len(points) > 5000
        assert np.isfinite(points).all()


def test_the_official_devkit_reads_it(simulated):
    pytest.importorskip("nuscenes", reason='needs the devkit: pip install "mae3d[nuscenes]"')
    from nuscenes.nuscenes import NuScenes
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    data = NuScenes("v1.0-mini", str(simulated), verbose=False)
    assert len(data.sample) == 6
    path, boxes, _ = data.get_sample_data(data.sample[1]["data"]["LIDAR_TOP"])
    points = LidarPointCloud.from_file(path).points[:3]
    counted = 0
    for box in boxes:
        annotation = data.get("sample_annotation", box.token)
        box.wlh = box.wlh + 0.24  # range noise
        inside = int(points_in_box(box, points).sum())
        assert inside >= 0.97 * annotation["num_lidar_pts"]
        counted += annotation["num_lidar_pts"] > 0
    assert counted > 5
    _, times = LidarPointCloud.from_file_multisweep(data, data.sample[1], "LIDAR_TOP", "LIDAR_TOP", nsweeps=5)
    np.testing.assert_allclose(np.unique(times), np.arange(5) * 0.05, atol=1e-5)


def test_velocities_of_the_devkit_are_those_of_the_simulation(simulated):
    pytest.importorskip("nuscenes", reason='needs the devkit: pip install "mae3d[nuscenes]"')
    from nuscenes.nuscenes import NuScenes

    data = NuScenes("v1.0-mini", str(simulated), verbose=False)
    moving = 0
    for annotation in data.sample_annotation:
        speed = np.linalg.norm(data.box_velocity(annotation["token"]))
        names = [data.get("attribute", token)["name"] for token in annotation["attribute_tokens"]]
        if np.isfinite(speed) and names:
            assert (speed > 0.2) == names[0].endswith(("moving", "with_rider"))
            moving += speed > 0.2
    assert moving > 0


def test_equal_seeds_give_equal_files(simulated, tmp_path):
    write_nuscenes(NuScenesPlan(tmp_path, 1, 1, key_frames=3, seed=5))
    first = {p.relative_to(simulated): p.read_bytes() for p in simulated.rglob("*") if p.is_file()}
    again = {p.relative_to(tmp_path): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert first == again


@pytest.mark.parametrize("counts", [(0, 1, 5), (701, 1, 5), (1, 151, 5), (1, 1, 0)])
def test_impossible_plans_are_refused(tmp_path, counts):
    with pytest.raises(ConfigError, match="simulated nuScenes needs"):
        NuScenesPlan(tmp_path, *counts)


def test_fewer_sweeps_are_a_part_of_all_and_a_finished_simulation_is_kept(simulated, tmp_path):
    plan = NuScenesPlan(tmp_path, 1, 1, key_frames=3, seed=5, sweeps=2)
    write_nuscenes(plan)
    few, full = (sorted(root.rglob("*.pcd.bin")) for root in (tmp_path, simulated))
    assert (len(few), len(full)) == (2 * 5, 2 * 21)  # the first key frame has nothing before it
    for path in few:
        assert path.read_bytes() == (simulated / path.relative_to(tmp_path)).read_bytes()
    frame = read_nuscenes(tmp_path, "mini_train").frame(1)
    assert frame.sweep_lag[0] == pytest.approx(0.05, abs=1e-6)
    few[0].write_bytes(b"kept")
    write_nuscenes(plan)
    assert few[0].read_bytes() == b"kept"
    for other in ({"seed": 6}, {"motion_distortion": True}, {"sweeps": 3}):
        with pytest.raises(DataError, match="holds a simulation with"):
            write_nuscenes(replace(plan, **other))
    with pytest.raises(ConfigError, match=r"1\.\.10 sweeps a frame, not 11"):
        NuScenesPlan(tmp_path, 1, 1, sweeps=11)
