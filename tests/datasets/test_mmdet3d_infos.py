"""Info files of mmdet3d, written from an index and read back. tests/integrations/ lets mmdet3d itself read them."""

from dataclasses import replace

import numpy as np
import pytest

from mae3d.datasets.array_pickle import load_array_pickle, save_array_pickle
from mae3d.datasets.lidar import prepare
from mae3d.datasets.lidar.kitti_infos import read_kitti_infos
from mae3d.datasets.lidar.kitti_reader import read_kitti
from mae3d.datasets.lidar.mmdet3d_infos import nuscenes_infos
from mae3d.datasets.lidar.nuscenes import NuScenes
from mae3d.datasets.lidar.nuscenes_infos import read_nuscenes_infos
from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.simulators.driving.kitti_layout import KittiPlan, write_kitti
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.errors import DataError


@pytest.fixture(scope="module")
def nuscenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(NuScenesPlan(root, 1, 1, key_frames=2, seed=2))
    return root


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    return write_kitti(KittiPlan(tmp_path_factory.mktemp("kitti"), 2, 1, seed=4))


def same(found, wanted):
    assert len(found) == len(wanted)
    for number in range(len(wanted)):
        there, here = found.frame(number), wanted.frame(number)
        assert (there.token, there.file, there.sweep_files) == (here.token, here.file, here.sweep_files)
        assert there.time == pytest.approx(here.time, abs=1e-6)
        np.testing.assert_allclose(there.world_from_sensor, here.world_from_sensor, atol=1e-9)
        np.testing.assert_allclose(there.sensor_from_sweep, here.sensor_from_sweep, atol=1e-9)
        np.testing.assert_allclose(there.sweep_lag, here.sweep_lag, atol=2e-6)
        columns = [0, 1, 2, 3, 4, 5, 7, 8]
        np.testing.assert_allclose(there.boxes[:, columns], here.boxes[:, columns], atol=1e-9)
        np.testing.assert_allclose(np.cos(there.boxes[:, 6] - here.boxes[:, 6]), 1)
        np.testing.assert_array_equal(there.labels, here.labels)
        np.testing.assert_array_equal(there.num_points, here.num_points)
        for key, values in here.extra.items():
            np.testing.assert_allclose(there.extra[key], values, atol=1e-9)


def test_nuscenes_there_and_back(nuscenes):
    request = prepare.Request(splits=["mini_train"], mmdet3d_infos=True)
    report = prepare.prepare("nuscenes", nuscenes, request)
    assert report.problems == []
    assert "mini_train: infos for mmdet3d written to mae3d_nuscenes_infos_mini_train.pkl" in report.found
    path = nuscenes / "mae3d_nuscenes_infos_mini_train.pkl"
    index = read_nuscenes(nuscenes, "mini_train")
    same(read_nuscenes_infos(path), index)
    content = load_array_pickle(path)
    assert content["metainfo"]["version"] == "v1.0-mini"
    info = content["data_list"][1]
    assert info["lidar_points"]["lidar_path"] == index.file[1].split("/")[-1]
    assert len(info["lidar_sweeps"]) == 9
    np.testing.assert_allclose(np.array(info["lidar_points"]["lidar2ego"])[:3, 3], [0.943713, 0, 1.84], atol=0.1)
    ours, theirs = (NuScenes(nuscenes, "mini_train", sweeps=3, infos=infos)[1] for infos in (None, path.name))
    np.testing.assert_allclose(theirs["points"], ours["points"], atol=1e-5)


def test_an_old_index_is_named(nuscenes):
    index = read_nuscenes(nuscenes, "mini_val")
    old = replace(index, extra={key: values for key, values in index.extra.items() if key != "ego_from_sensor"})
    with pytest.raises(DataError, match=r"mini_val.*older version.*--rebuild"):
        nuscenes_infos(old, "mini_val")


def test_kitti_there_and_back(kitti):
    report = prepare.prepare("kitti", kitti, prepare.Request(splits=["train"], mmdet3d_infos=True))
    assert report.problems == []
    index = prepare.FrameIndex.load(prepare.index_path(kitti, "kitti", "train"))
    found = read_kitti_infos(kitti / "mae3d_kitti_infos_train.pkl")
    same(found, index)
    for key, values in index.box_extra.items():
        np.testing.assert_allclose(found.box_extra[key], values)


def test_regions_that_are_not_labelled_keep_their_numbers(shared_data, tmp_path):
    root = shared_data / "lidar" / "kitti_object"
    index = read_kitti(root, "training")
    content = prepare.WRITERS["kitti"](index, "training")
    first = content["data_list"][1]["instances"]
    assert [entry["bbox_label_3d"] for entry in first] == [4, 2, 1, -1, -1, -1, -1]
    assert first[3]["bbox_3d"][3:6] == [-1, -1, -1]
    np.testing.assert_allclose(first[3]["bbox_3d"][:3], [-1000] * 3)
    save_array_pickle(content, tmp_path / "infos.pkl")
    found = read_kitti_infos(tmp_path / "infos.pkl")
    same(found, index)
