"""Info files of other codebases against the index made from the JSON tables of the same simulated drives."""

import math
import pickle

import numpy as np
import pytest

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.lidar.nuscenes import NuScenes
from mae3d.datasets.lidar.nuscenes_infos import read_nuscenes_infos
from mae3d.datasets.lidar.nuscenes_reader import FILE_FROM_OURS, read_nuscenes
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.errors import DataError
from mae3d.ops import points_in_boxes

OURS_FROM_FILE = FILE_FROM_OURS.T
EGO_FROM_FILE = np.array([[0.0, 1, 0, 0.94], [-1, 0, 0, 0], [0, 0, 1, 1.84], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(NuScenesPlan(root, 1, 1, key_frames=3, seed=2))
    return root


def file_boxes(frame):
    """Boxes [N, 9] of the benchmark's classes in the axes of the files, float32 like the stored ones."""
    boxes = frame.boxes[frame.labels >= 0].copy()
    x, y, yaw, vx, vy = boxes[:, [0, 1, 6, 7, 8]].T.copy()
    boxes[:, 0], boxes[:, 1], boxes[:, 6], boxes[:, 7], boxes[:, 8] = -y, x, yaw + math.pi / 2, -vy, vx
    return boxes


def world_from_file(frame):
    return frame.world_from_sensor @ OURS_FROM_FILE


def world_from_ego(frame):
    return world_from_file(frame) @ np.linalg.inv(EGO_FROM_FILE)


def quaternion(matrix):
    scipy = pytest.importorskip("scipy.spatial.transform")
    return scipy.Rotation.from_matrix(matrix[:3, :3]).as_quat()[[3, 0, 1, 2]].tolist()


def sweeps_of(frame):
    return [
        (file, FILE_FROM_OURS @ matrix @ OURS_FROM_FILE, lag)
        for file, matrix, lag in zip(frame.sweep_files, frame.sensor_from_sweep, frame.sweep_lag)
    ]


def names_of(index, frame):
    return np.array([index.classes[label] for label in frame.labels[frame.labels >= 0]])


def openpcdet(index, frame):
    counts = frame.num_points[frame.labels >= 0]
    sweeps = [{"lidar_path": f, "transform_matrix": m, "time_lag": lag} for f, m, lag in sweeps_of(frame)]
    filler = sweeps[-1] if sweeps else {"lidar_path": frame.file, "transform_matrix": None, "time_lag": 0.0}
    return {
        "lidar_path": frame.file,
        "token": frame.token,
        "sweeps": sweeps + [filler] * (9 - len(sweeps)),
        "ref_from_car": np.linalg.inv(EGO_FROM_FILE),
        "car_from_global": np.linalg.inv(world_from_ego(frame)),
        "timestamp": frame.time,
        "gt_boxes": file_boxes(frame),
        "gt_names": names_of(index, frame),
        "num_lidar_pts": counts - counts // 3,
        "num_radar_pts": counts // 3,
    }


def mmdet3d_old(index, frame, legacy):
    boxes = file_boxes(frame)
    gt = boxes[:, :7].copy()
    if legacy:
        gt = np.column_stack((boxes[:, :3], boxes[:, [4, 3, 5]], -boxes[:, 6] - math.pi / 2))
    stamp = round(frame.time * 1e6)
    return {
        "lidar_path": f"/somewhere/data/nuscenes/{frame.file}",
        "token": frame.token,
        "sweeps": [
            {
                "data_path": f"./data/nuscenes/{file}",
                "sensor2lidar_rotation": matrix[:3, :3],
                "sensor2lidar_translation": matrix[:3, 3],
                "timestamp": stamp - round(lag * 1e6),
            }
            for file, matrix, lag in sweeps_of(frame)
        ],
        "lidar2ego_translation": EGO_FROM_FILE[:3, 3].tolist(),
        "lidar2ego_rotation": quaternion(EGO_FROM_FILE),
        "ego2global_translation": world_from_ego(frame)[:3, 3].tolist(),
        "ego2global_rotation": quaternion(world_from_ego(frame)),
        "timestamp": stamp,
        "gt_boxes": gt,
        "gt_names": names_of(index, frame),
        "gt_velocity": boxes[:, 7:9],
        "num_lidar_pts": frame.num_points[frame.labels >= 0],
        "num_radar_pts": np.zeros((frame.labels >= 0).sum(), dtype=int),
    }


def mmdet3d(index, frame, numbers):
    return {
        "token": frame.token,
        "timestamp": frame.time,
        "ego2global": world_from_ego(frame).tolist(),
        "lidar_points": {
            "lidar_path": frame.file.split("/")[-1],
            "lidar2ego": EGO_FROM_FILE.tolist(),
        },
        "lidar_sweeps": [
            {
                "timestamp": frame.time - lag,
                "lidar_points": {"lidar_path": file, "lidar2sensor": np.linalg.inv(matrix).tolist()},
            }
            for file, matrix, lag in sweeps_of(frame)
        ],
        "instances": [
            {
                "bbox_3d": box[:7].tolist(),
                "velocity": box[7:].tolist(),
                "bbox_label_3d": numbers[name],
                "num_lidar_pts": int(count),
                "num_radar_pts": 0,
            }
            for box, name, count in zip(file_boxes(frame), names_of(index, frame), frame.num_points[frame.labels >= 0])
        ],
    }


def content(kind, index):
    frames = [index.frame(n) for n in range(len(index))]
    if kind == "openpcdet":
        return [openpcdet(index, frame) for frame in frames]
    if kind == "mmdet3d":
        names = {name: number for number, name in enumerate(reversed(index.classes))}
        return {"metainfo": {"categories": names}, "data_list": [mmdet3d(index, f, names) for f in frames]}
    legacy = kind == "mmdet3d 0.15"
    return {"infos": [mmdet3d_old(index, f, legacy) for f in frames], "metadata": {"version": "v1.0-mini"}}


@pytest.mark.parametrize("kind", ["openpcdet", "mmdet3d 0.15", "mmdet3d 1.0", "mmdet3d"])
def test_infos_give_what_the_tables_give(simulated, tmp_path, kind):
    index = read_nuscenes(simulated, "mini_train")
    save_array_pickle(content(kind, index), tmp_path / "infos.pkl")
    read = read_nuscenes_infos(tmp_path / "infos.pkl")
    assert len(read) == len(index) == 3
    for number in range(3):
        wanted, found = index.frame(number), read.frame(number)
        scored = wanted.labels >= 0
        assert (found.token, found.file, found.sweep_files) == (wanted.token, wanted.file, wanted.sweep_files)
        assert found.time == pytest.approx(wanted.time, abs=1e-5)
        np.testing.assert_allclose(found.world_from_sensor, wanted.world_from_sensor, atol=1e-6)
        np.testing.assert_allclose(found.sensor_from_sweep, wanted.sensor_from_sweep, atol=1e-6)
        np.testing.assert_allclose(found.sweep_lag, wanted.sweep_lag, atol=2e-6)
        np.testing.assert_allclose(found.boxes[:, [0, 1, 2, 3, 4, 5, 7, 8]], wanted.boxes[scored][:, [*range(6), 7, 8]])
        np.testing.assert_allclose(np.cos(found.boxes[:, 6] - wanted.boxes[scored, 6]), 1)
        np.testing.assert_array_equal(found.labels, wanted.labels[scored])
        np.testing.assert_array_equal(found.num_points, wanted.num_points[scored])
    sample = NuScenes(simulated, "train", infos=str(tmp_path / "infos.pkl"), sweeps=3)[2]
    np.testing.assert_allclose(sample["points"], NuScenes(simulated, "mini_train", sweeps=3)[2]["points"], atol=1e-4)


def test_a_real_frame(shared_data):
    data = NuScenes(shared_data / "lidar" / "nuscenes_frame", "one frame", infos="boxes.json")
    sample = data[0]
    assert sample["points"].shape == (34688, 4)
    assert len(sample["boxes"]) == 69
    counts = points_in_boxes(sample["points"][None, :, :3].contiguous(), sample["boxes"][None, :, :7]).counts[0]
    near = sample["box_points"] > 20
    np.testing.assert_allclose(counts[near].sum(), sample["box_points"][near].sum(), rtol=0.06)
    cars = sample["boxes"][sample["box_labels"] == 0]
    assert (cars[:, 3] > cars[:, 4]).all()


class Dangerous:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps([Dangerous()]), r"refused or damaged pickle.*builtins\.print"),
        (pickle.dumps({"something": 1}), r"unknown layout \(\['something'\]\)"),
        (pickle.dumps([{"token": "a"}]), "info 0: KeyError: 'car_from_global'"),
        (pickle.dumps({"data_list": [{"token": "a"}]}), "info 0: KeyError: 'lidar_points'"),
        (b"", "file is empty"),
    ],
)
def test_bad_infos_are_named(tmp_path, data, message):
    path = tmp_path / "infos.pkl"
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        read_nuscenes_infos(path)
    assert str(path) in str(caught.value)
