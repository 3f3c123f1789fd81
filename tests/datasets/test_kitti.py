import shutil

import numpy as np
import pytest
import torch

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.lidar.kitti import Kitti
from mae3d.datasets.lidar.kitti_files import CATEGORIES, read_calibration, read_labels
from mae3d.datasets.lidar.kitti_reader import read_kitti
from mae3d.datasets.simulators.driving.kitti_layout import KittiPlan, write_kitti
from mae3d.errors import ConfigError, DataError
from mae3d.ops import points_in_boxes
from mae3d.structures.box_conventions import to_kitti_camera


def counts(sample):
    return points_in_boxes(sample["points"][None, :, :3].contiguous(), sample["boxes"][None, :, :7]).counts[0]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("kitti")
    return write_kitti(KittiPlan(root, 3, 2, seed=4))


@pytest.fixture
def real(shared_data):
    return shared_data / "lidar" / "kitti_object"


def test_real_frames(real):
    data = Kitti(real, "training", fov_points_only=False)
    assert [len(data[i]["points"]) for i in range(3)] == [115384, 120268, 126891]
    frame = data.frames.frame(1)
    names = [CATEGORIES[c] for c in frame.box_extra["category"]]
    assert names == ["Truck", "Car", "Cyclist", "DontCare", "DontCare", "DontCare", "DontCare"]
    assert frame.labels.tolist() == [-1, 0, 2, -1, -1, -1, -1]
    assert frame.box_extra["box_2d"].shape == (7, 4)
    assert frame.box_extra["difficulty"].tolist() == [1, -1, -1, -1, -1, -1, -1]
    assert counts(data[0]).tolist() == [377]  # the pedestrian nine metres ahead
    assert counts(data[1])[:3].min() >= 9


def test_points_of_the_image_are_those_of_the_published_preparation(real, tmp_path):
    # Known from the reduced clouds of the published preparation, for the image's true size of 370 x 1224.
    shutil.copytree(real, tmp_path / "kitti")
    image = tmp_path / "kitti" / "training" / "image_2" / "000000.png"
    image.parent.mkdir()
    image.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1224).to_bytes(4, "big") + (370).to_bytes(4, "big"))
    data = Kitti(tmp_path / "kitti", "training")
    assert (data.frames.extra["image_height"][0], data.frames.extra["image_width"][0]) == (370, 1224)
    assert len(data[0]["points"]) == 20285


def test_boxes_go_back_to_the_label_file(real):
    index = read_kitti(real, "training")
    for number in range(3):
        frame = index.frame(number)
        labels = read_labels(real / "training" / "label_2" / f"{frame.token}.txt")
        matrix = torch.from_numpy(frame.extra["camera_from_sensor"])
        camera = to_kitti_camera(torch.from_numpy(frame.boxes[:, :7]), matrix).numpy()
        known = labels.camera_boxes[:, 3] > 0
        np.testing.assert_allclose(camera[known], labels.camera_boxes[known], atol=1e-6)


def test_projected_boxes_fit_the_annotated_rectangles(real):
    from mae3d.datasets.simulators.driving.camera import project_boxes

    for number in range(3):
        frame = read_kitti(real, "training").frame(number)
        known = frame.boxes[:, 3] > 0
        matrix = frame.extra["image_from_camera"] @ frame.extra["camera_from_sensor"]
        image = project_boxes(frame.boxes[known], matrix, (375, 1242))
        assert image.seen.all()
        assert np.abs(image.box_2d - frame.box_extra["box_2d"][known]).max() < 12


def test_simulated_frames_are_annotated_where_the_camera_looks(simulated):
    data = Kitti(simulated, "train")
    whole = Kitti(simulated, "train", fov_points_only=False)
    assert len(data) == 3
    assert len(Kitti(simulated, "trainval")) == 5
    for number in range(3):
        frame, sample = data.frames.frame(number), data[number]
        assert 0 < len(sample["points"]) < len(whole[number]["points"])
        assert len(frame.boxes) > 0
        assert (frame.boxes[:, 0] > 0).all()
        assert (counts(whole[number]) > 0).float().mean() > 0.9
        assert set(frame.box_extra["occlusion"]) <= {0, 1, 2}
        assert ((frame.box_extra["truncation"] >= 0) & (frame.box_extra["truncation"] < 1)).all()


def test_index_file_keeps_matrices(simulated, tmp_path):
    index = read_kitti(simulated, "val")
    index.save(tmp_path / "index.npz")
    again = type(index).load(tmp_path / "index.npz")
    first, second = index.frame(1), again.frame(1)
    np.testing.assert_array_equal(first.extra["image_from_camera"], second.extra["image_from_camera"])
    np.testing.assert_array_equal(first.box_extra["box_2d"], second.box_extra["box_2d"])


def test_an_interrupted_simulation_goes_on_and_other_data_are_left_alone(simulated, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(simulated, root)
    victim = root / "training" / "label_2" / "000001.txt"
    text = victim.read_text()
    victim.unlink()
    write_kitti(KittiPlan(root, 3, 2, seed=4))
    assert victim.read_text() == text
    with pytest.raises(DataError, match="holds a simulation"):
        write_kitti(KittiPlan(root, 3, 2, seed=5))
    with pytest.raises(ConfigError, match="needs training and validation frames"):
        KittiPlan(root, 0, 2)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("label_2/000000.txt", "Car 0 0 1.0\n", "line 1 must be one of"),
        ("label_2/000000.txt", "Car 0 0 x " + "1 " * 11, "line 1: could not convert"),
        ("label_2/000000.txt", None, "file is missing"),
        ("calib/000000.txt", "P2: 1 2 3\n", "no P2 of 3x4 numbers"),
        ("calib/000000.txt", "P2: a\n", "something else than numbers"),
        ("velodyne/000000.bin", b"\0" * 17, "truncated or has another number of columns"),
        ("velodyne/000000.bin", np.full(8, np.nan, "<f4").tobytes(), "are not finite"),
        ("velodyne/000000.bin", b"", "file is empty"),
        ("velodyne/000000.bin", np.array([-5, 0, 0, 0.5], "<f4").tobytes(), "no point falls into the image"),
    ],
)
def test_damaged_files_are_named(simulated, tmp_path, file, content, message):
    root = tmp_path / "copy"
    shutil.copytree(simulated, root)
    path = root / "training" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DataError, match=message) as caught:
        Kitti(root, "train")[0]
    assert str(path) in str(caught.value)


def test_unknown_splits_and_absent_lists_are_named(real):
    with pytest.raises(ConfigError, match="trainval"):
        Kitti(real, "validation")
    with pytest.raises(DataError, match=r"ImageSets/train\.txt.*\n?.*use the split \"training\""):
        Kitti(real, "train")


def test_a_frame_without_objects(simulated, tmp_path):
    shutil.copytree(simulated, tmp_path / "copy")
    (tmp_path / "copy" / "training" / "label_2" / "000000.txt").write_text("")
    sample = Kitti(tmp_path / "copy", "train")[0]
    assert sample["boxes"].shape == (0, 9)
    assert sample["box_labels"].shape == (0,)


def test_tracking_and_odometry_calibrations(shared_data):
    for name in ("kitti_drive_0005", "kitti_odometry_00"):
        calibration = read_calibration(shared_data / "lidar" / name / "calib.txt")
        ahead = calibration.camera_from_lidar @ [10, 0, 0, 1]
        assert ahead[2] == pytest.approx(10, abs=0.5)


def openpcdet_info(root, number):
    """What OpenPCDet's preparation stores of a frame, from the text files alone."""
    lines = [line.split() for line in (root / "training" / "label_2" / f"{number}.txt").read_text().splitlines()]
    calib = {}
    for line in (root / "training" / "calib" / f"{number}.txt").read_text().splitlines():
        name, _, values = line.partition(":")
        calib[name] = np.array(values.split(), dtype=np.float32)
    row = np.array([[0, 0, 0, 1]], dtype=np.float32)
    rectify = np.eye(4, dtype=np.float32)
    rectify[:3, :3] = calib["R0_rect"].reshape(3, 3)
    values = np.array([line[1:15] for line in lines], dtype=np.float64)
    return {
        "point_cloud": {"num_features": 4, "lidar_idx": number},
        "image": {"image_idx": number, "image_shape": np.array([375, 1242], dtype=np.int32)},
        "calib": {
            "P2": np.vstack((calib["P2"].reshape(3, 4), row)),
            "R0_rect": rectify,
            "Tr_velo_to_cam": np.vstack((calib["Tr_velo_to_cam"].reshape(3, 4), row)),
        },
        "annos": {
            "name": np.array([line[0] for line in lines]),
            "truncated": values[:, 0],
            "occluded": values[:, 1],
            "alpha": values[:, 2],
            "bbox": values[:, 3:7],
            "dimensions": values[:, [9, 7, 8]],
            "location": values[:, 10:13],
            "rotation_y": values[:, 13],
            "num_points_in_gt": np.arange(len(lines), dtype=np.int32),
        },
    }


def test_infos_of_openpcdet_give_what_the_text_files_give(real, tmp_path):
    index = read_kitti(real, "training")
    path = tmp_path / "kitti_infos_train.pkl"
    save_array_pickle([openpcdet_info(real, token) for token in index.token], path)
    data = Kitti(real, "train", infos=str(path))
    for number in range(3):
        wanted, found = index.frame(number), data.frames.frame(number)
        assert (found.token, found.file) == (wanted.token, wanted.file)
        known = wanted.boxes[:, 3] > 0
        np.testing.assert_allclose(found.boxes[known, :7], wanted.boxes[known, :7], atol=1e-4)
        for key, values in wanted.box_extra.items():
            np.testing.assert_allclose(found.box_extra[key], values)
        assert found.num_points.tolist() == list(range(len(wanted.boxes)))
    assert len(data[0]["points"]) == len(Kitti(real, "training")[0]["points"])
    save_array_pickle([{"calib": {}}], path)
    with pytest.raises(DataError, match="info 0: KeyError: 'R0_rect'"):
        Kitti(real, "train", infos=str(path))
    save_array_pickle({}, path)
    with pytest.raises(DataError, match="holds a dict"):
        Kitti(real, "train", infos=str(path))


def test_an_index_of_another_version_is_named(simulated, tmp_path):
    shutil.copytree(simulated, tmp_path / "copy")
    path = tmp_path / "copy" / "mae3d_kitti_train.npz"
    np.savez(path, header=np.array('{"schema": 99, "dataset": "kitti", "classes": []}'))
    with pytest.raises(DataError, match="index of schema 99, this version reads 1"):
        Kitti(tmp_path / "copy", "train")


def test_a_file_of_another_data_set_is_named(simulated, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(simulated, root)
    data = Kitti(root, "train")
    rows = np.zeros((40, 5), dtype="<f4")  # of nuScenes: as many numbers as 50 rows of four columns
    rows[:, 0], rows[:, 4] = 12.0, 7.0
    path = root / str(data.frames.file[0])
    path.write_bytes(rows.tobytes())
    with pytest.raises(DataError, match=f"{path.name}: column 3 should hold the reflectance, numbers from 0 to 1"):
        data[0]
