"""Our info files beside those of mmdet3d's own converters, and as its data sets and loaders read them."""

import importlib
import json
import math
import pickle
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet3d", reason="mmdet3d is not installed; `make test-mmdet3d` installs it and runs these tests")

import mmdet3d

from mae3d.datasets.lidar import prepare
from mae3d.datasets.lidar.kitti import Kitti
from mae3d.datasets.lidar.kitti_infos import read_kitti_infos
from mae3d.datasets.lidar.nuscenes import NuScenes
from mae3d.datasets.lidar.nuscenes_infos import read_nuscenes_infos
from mae3d.datasets.simulators.driving.kitti_layout import KittiPlan, write_kitti
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.integrations.mmdet3d import Mae3dLoadSweeps, from_lidar_boxes, to_lidar_boxes
from mae3d.integrations.mmdet3d.axes import turn_points

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_FRONT_LEFT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")


@pytest.fixture(scope="module")
def nuscenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(NuScenesPlan(root, 1, 1, key_frames=2, seed=2))
    assert prepare.prepare("nuscenes", root, prepare.Request(mmdet3d_infos=True)).problems == []
    return root


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    root = write_kitti(KittiPlan(tmp_path_factory.mktemp("kitti"), 2, 1, seed=4))
    assert prepare.prepare("kitti", root, prepare.Request(mmdet3d_infos=True)).problems == []
    return root


def converter(name):
    """A module of mmdet3d's tools, which its wheel carries outside of the package."""
    package = types.ModuleType("mmdet3d_converters")
    package.__path__ = [str(Path(mmdet3d.__file__).parent / ".mim" / "tools" / "dataset_converters")]
    sys.modules.setdefault("mmdet3d_converters", package)
    return importlib.import_module(f"mmdet3d_converters.{name}")


def load(path):
    return pickle.loads(Path(path).read_bytes())


def with_cameras(root, target):
    """A copy of the tables with six cameras, without which the converter does not run."""
    shutil.copytree(root / "v1.0-mini", target / "v1.0-mini")
    for name in ("samples", "sweeps", "maps"):
        (target / name).symlink_to(root / name)
    tables = {p.stem: json.loads(p.read_text()) for p in (target / "v1.0-mini").glob("*.json")}
    keys = [record for record in tables["sample_data"] if record["is_key_frame"]]
    for camera in CAMERAS:
        tables["sensor"].append({"token": camera, "channel": camera, "modality": "camera"})
        mount = {"translation": [1.0, 0, 1.5], "rotation": [0.5, -0.5, 0.5, -0.5]}
        intrinsic = [[1200.0, 0, 800], [0, 1200.0, 450], [0, 0, 1]]
        record = {"token": camera, "sensor_token": camera, "camera_intrinsic": intrinsic, **mount}
        tables["calibrated_sensor"].append(record)
        for key in keys:
            image = {"token": f"{camera}{key['token']}", "filename": f"samples/{camera}/{key['token']}.jpg"}
            image |= {"calibrated_sensor_token": camera, "width": 1600, "height": 900, "prev": "", "next": ""}
            tables["sample_data"].append({**key, **image})
    for name, records in tables.items():
        (target / "v1.0-mini" / f"{name}.json").write_text(json.dumps(records))
    return target


def test_nuscenes_infos_equal_those_of_the_converter(nuscenes, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "nuscenes").mkdir()
    root = with_cameras(nuscenes, tmp_path / "data" / "nuscenes")
    monkeypatch.chdir(tmp_path)
    converter("nuscenes_converter").create_nuscenes_infos("data/nuscenes", "made", "v1.0-mini", max_sweeps=9)
    update = converter("update_infos_to_v2")
    monkeypatch.setattr(update, "generate_nuscenes_camera_instances", lambda info, tables: {})
    (tmp_path / "second").mkdir()
    update.update_nuscenes_infos("data/nuscenes/made_infos_train.pkl", "second")
    theirs, ours = load("second/made_infos_train.pkl"), load(nuscenes / "mae3d_nuscenes_infos_mini_train.pkl")
    assert ours["metainfo"].items() <= {**theirs["metainfo"], "categories": ours["metainfo"]["categories"]}.items()
    assert ours["metainfo"]["categories"].items() <= theirs["metainfo"]["categories"].items()
    assert len(ours["data_list"]) == len(theirs["data_list"]) == 2
    for here, there in zip(ours["data_list"], theirs["data_list"]):
        assert (here["token"], here["sample_idx"]) == (there["token"], there["sample_idx"])
        assert here["timestamp"] == pytest.approx(there["timestamp"], abs=1e-6)
        np.testing.assert_allclose(here["ego2global"], there["ego2global"], atol=2e-4)  # float32 in their files
        assert here["lidar_points"]["lidar_path"] == there["lidar_points"]["lidar_path"]
        assert here["lidar_points"]["num_pts_feats"] == there["lidar_points"]["num_pts_feats"]
        np.testing.assert_allclose(here["lidar_points"]["lidar2ego"], there["lidar_points"]["lidar2ego"], atol=1e-6)
        assert here.keys() <= there.keys()
        assert len(here.get("lidar_sweeps", ())) == len(there.get("lidar_sweeps", ())) == 9 * here["sample_idx"]
        for mine, other in zip(here.get("lidar_sweeps", ()), there.get("lidar_sweeps", ())):
            assert Path(mine["lidar_points"]["lidar_path"]).name == Path(other["lidar_points"]["lidar_path"]).name
            assert mine["timestamp"] == pytest.approx(other["timestamp"], abs=1e-6)
            for_points = (mine["lidar_points"]["lidar2sensor"], other["lidar_points"]["lidar2sensor"])
            np.testing.assert_allclose(*for_points, atol=1e-4)
        known = [entry for entry in there["instances"] if entry["bbox_label_3d"] >= 0]
        mine = [entry for entry in here["instances"] if entry["bbox_label_3d"] >= 0]
        assert len(mine) == len(known) > 5
        for one, other in zip(mine, known):
            assert one["bbox_label_3d"] == one["bbox_label"] == other["bbox_label_3d"]
            np.testing.assert_allclose(one["bbox_3d"][:6], other["bbox_3d"][:6], atol=1e-4)
            assert math.cos(one["bbox_3d"][6] - other["bbox_3d"][6]) == pytest.approx(1, abs=1e-7)
            np.testing.assert_allclose(one["velocity"], other["velocity"], atol=1e-4)
            assert one["bbox_3d_isvalid"] == other["bbox_3d_isvalid"]
            assert one["num_lidar_pts"] == other["num_lidar_pts"] + other["num_radar_pts"]
    again = read_nuscenes_infos("second/made_infos_train.pkl")
    assert list(again.file) == list(NuScenes(nuscenes, "mini_train").frames.file)
    assert (root / again.file[0]).exists()


def test_nuscenes_as_mmdet3d_loads_it(nuscenes):
    from mmdet3d.datasets import NuScenesDataset

    pipeline = [
        {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 5, "use_dim": 5},
        {"type": "Mae3dLoadSweeps", "sweeps_num": 9, "use_dim": [0, 1, 2, 3, 4], "test_mode": True},
        {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
        {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
    ]
    ours = NuScenes(nuscenes, "mini_train", sweeps=10)
    theirs = NuScenesDataset(
        str(nuscenes),
        "mae3d_nuscenes_infos_mini_train.pkl",
        pipeline=pipeline,
        metainfo={"classes": list(ours.frames.classes)},
        data_prefix={"pts": "samples/LIDAR_TOP", "sweeps": "sweeps/LIDAR_TOP", "img": ""},
        use_valid_flag=True,
    )
    for number in range(2):
        wanted, found = ours[number], theirs[number]
        points = turn_points(found["inputs"]["points"])
        assert points.shape == wanted["points"].shape
        np.testing.assert_allclose(points, wanted["points"], atol=2e-4)
        boxes = from_lidar_boxes(found["data_samples"].gt_instances_3d.bboxes_3d, turned=True)
        kept = (wanted["box_points"] > 0) & (wanted["box_labels"] >= 0)
        expected = wanted["boxes"][kept].nan_to_num()
        np.testing.assert_allclose(boxes[:, [0, 1, 2, 3, 4, 5, 7, 8]], expected[:, [0, 1, 2, 3, 4, 5, 7, 8]], atol=1e-4)
        np.testing.assert_allclose(torch.cos(boxes[:, 6] - expected[:, 6]), 1, atol=1e-6)
        labels = found["data_samples"].gt_instances_3d.labels_3d
        assert labels.tolist() == wanted["box_labels"][kept].tolist()


def test_sweeps_of_a_turning_vehicle_lie_where_they_were(tmp_path):
    from mmdet3d.datasets.transforms.loading import LoadPointsFromMultiSweeps
    from mmdet3d.structures import LiDARPoints

    angle, shift = 0.3, np.array([5.0, -1.0, 0.2])
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    sweep = np.random.default_rng(0).uniform(-20, 20, (50, 5)).astype(np.float32)
    sweep.tofile(tmp_path / "sweep.bin")
    lidar_from_sweep = np.eye(4)
    lidar_from_sweep[:3, :3], lidar_from_sweep[:3, 3] = turn, shift
    stored = {"lidar_path": str(tmp_path / "sweep.bin"), "lidar2sensor": np.linalg.inv(lidar_from_sweep).tolist()}
    expected = sweep[:, :3] @ turn.T + shift

    def loaded(transform):
        results = {"points": LiDARPoints(torch.zeros(1, 5), points_dim=5), "timestamp": 2.0}
        results["lidar_sweeps"] = [{"timestamp": 1.5, "lidar_points": dict(stored)}]
        return transform(results)["points"].tensor[1:].numpy()

    options = {"sweeps_num": 1, "use_dim": [0, 1, 2, 3, 4], "test_mode": True}
    ours = loaded(Mae3dLoadSweeps(**options))
    np.testing.assert_allclose(ours[:, :3], expected, atol=1e-5)
    np.testing.assert_allclose(ours[:, 3:], np.column_stack((sweep[:, 3], np.full(50, 0.5))))
    published = loaded(LoadPointsFromMultiSweeps(**options))
    assert np.abs(published[:, :3] - expected).max() > 1  # the day this fails, Mae3dLoadSweeps has no purpose


@pytest.mark.parametrize("turned", [False, True])
def test_boxes_have_the_same_corners(turned):
    generator = torch.Generator().manual_seed(0)
    ours = torch.rand(20, 9, generator=generator) * 6 + 1
    theirs = to_lidar_boxes(ours, turned=turned)
    x, y, z, length, width, height, yaw = ours[:, :7].unbind(1)
    gravity = torch.stack((-y, x, z), 1) if turned else torch.stack((x, y, z), 1)
    torch.testing.assert_close(theirs.gravity_center, gravity)
    ahead = torch.stack((yaw.cos(), yaw.sin()), 1) * length[:, None] / 2
    front = torch.stack((x, y), 1) + ahead
    front = torch.stack((-front[:, 1], front[:, 0]), 1) if turned else front
    corners = theirs.corners  # [N, 8, 3]
    middle_of_front = corners[:, 4:, :2].mean(dim=1)  # the four with the larger coordinate along the length
    torch.testing.assert_close(middle_of_front, front, atol=1e-4, rtol=0)
    torch.testing.assert_close(corners[..., 2].amin(1), z - height / 2)
    torch.testing.assert_close(theirs.volume, length * width * height)
    back = from_lidar_boxes(theirs, turned=turned)
    torch.testing.assert_close(back[:, [0, 1, 2, 3, 4, 5, 7, 8]], ours[:, [0, 1, 2, 3, 4, 5, 7, 8]])
    torch.testing.assert_close(torch.cos(back[:, 6] - yaw), torch.ones(20))


def test_kitti_infos_equal_those_of_the_converter(kitti, tmp_path):
    tools = converter("kitti_converter")
    infos = tools.get_kitti_image_info(
        str(kitti), training=True, velodyne=True, calib=True, image_ids=[0, 1], relative_path=True, num_worker=1
    )
    tools._calculate_num_points_in_gt(str(kitti), infos, True, remove_outside=False)
    (tmp_path / "made.pkl").write_bytes(pickle.dumps(infos))
    (tmp_path / "second").mkdir()
    converter("update_infos_to_v2").update_kitti_infos(str(tmp_path / "made.pkl"), str(tmp_path / "second"))
    theirs, ours = load(tmp_path / "second" / "made.pkl"), load(kitti / "mae3d_kitti_infos_train.pkl")
    for here, there in zip(ours["data_list"], theirs["data_list"]):
        assert here["sample_idx"] == there["sample_idx"]
        assert here["lidar_points"].items() <= there["lidar_points"].items()
        for key, value in here["images"]["CAM2"].items():
            if key == "img_path":
                assert value == there["images"]["CAM2"][key]
            else:
                np.testing.assert_allclose(value, there["images"]["CAM2"][key], rtol=1e-6, atol=1e-4)
        assert len(here["instances"]) == len(there["instances"]) > 0
        for one, other in zip(here["instances"], there["instances"]):
            assert one.keys() == other.keys()
            for key in one.keys() - {"difficulty", "num_lidar_pts"}:
                np.testing.assert_allclose(one[key], other[key], rtol=1e-5, atol=1e-4, err_msg=key)
            assert abs(one["num_lidar_pts"] - other["num_lidar_pts"]) <= 2  # points on a face
    same = read_kitti_infos(tmp_path / "second" / "made.pkl")
    index = Kitti(kitti, "train").frames
    np.testing.assert_allclose(same.boxes[:, :6], index.boxes[:, :6], atol=1e-4)
    assert list(same.file) == list(index.file)


def test_kitti_as_mmdet3d_loads_it(kitti):
    from mmdet3d.datasets import KittiDataset

    pipeline = [
        {"type": "LoadPointsFromFile", "coord_type": "LIDAR", "load_dim": 4, "use_dim": 4},
        {"type": "Mae3dCropToImage"},
        {"type": "LoadAnnotations3D", "with_bbox_3d": True, "with_label_3d": True},
        {"type": "Pack3DDetInputs", "keys": ["points", "gt_bboxes_3d", "gt_labels_3d"]},
    ]
    ours = Kitti(kitti, "train")
    theirs = KittiDataset(
        str(kitti),
        "mae3d_kitti_infos_train.pkl",
        pipeline=pipeline,
        metainfo={"classes": list(ours.frames.classes)},
        data_prefix={"pts": "training/velodyne"},
    )
    compared = 0
    for number in range(len(theirs)):
        wanted, found = ours[number], theirs[number]
        np.testing.assert_array_equal(found["inputs"]["points"], wanted["points"])
        boxes = from_lidar_boxes(found["data_samples"].gt_instances_3d.bboxes_3d)
        known = wanted["box_labels"] >= 0
        np.testing.assert_allclose(boxes[:, :6], wanted["boxes"][known][:, :6], atol=1e-4)
        np.testing.assert_allclose(torch.cos(boxes[:, 6] - wanted["boxes"][known][:, 6]), 1, atol=1e-6)
        labels = found["data_samples"].gt_instances_3d.labels_3d
        assert labels.tolist() == wanted["box_labels"][known].tolist()
        compared += len(boxes)
    assert compared > 0
