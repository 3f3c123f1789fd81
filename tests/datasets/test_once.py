import json
import shutil

import numpy as np
import pytest

from mae3d.datasets.lidar.once import Once
from mae3d.datasets.lidar.once_reader import read_once
from mae3d.datasets.simulators.driving.once_layout import OncePlan, write_once
from mae3d.errors import ConfigError, DataError
from mae3d.ops import points_in_boxes


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    return write_once(OncePlan(tmp_path_factory.mktemp("once"), 1, 1, 1, frames=4, seed=6))


def test_points_fall_into_boxes(simulated):
    data = Once(simulated, "train")
    assert len(data) == 4
    for number in range(4):
        sample = data[number]
        boxes = sample["boxes"][None, :, :7].clone()
        boxes[..., 3:6] += 0.2  # range noise
        counts = points_in_boxes(sample["points"][None, :, :3].contiguous(), boxes).counts[0]
        assert (counts > 0).float().mean() > 0.95


def test_traffic_keeps_to_the_right(simulated):
    for split in ("train", "val"):
        index = read_once(simulated, split)
        cars = index.boxes[index.labels == 0]
        ahead = np.cos(cars[:, 6])
        assert (ahead[cars[:, 1] < -2] > 0.9).mean() > 0.9
        assert (ahead[cars[:, 1] > 2] < -0.9).mean() > 0.9


def test_the_files_axes_are_those_of_the_documentation(simulated):
    # x left, y back: a vehicle ahead has a negative y, and the street runs along y.
    record = json.loads((simulated / "data" / "000000" / "000000.json").read_text())["frames"][0]
    rows = np.array(record["annos"]["boxes_3d"])
    ours = read_once(simulated, "train").frame(0).boxes
    np.testing.assert_allclose(rows[:, 0], ours[:, 1], atol=1e-5)
    np.testing.assert_allclose(rows[:, 1], -ours[:, 0], atol=1e-5)
    # A box that points along the file's x points to our left.
    assert np.cos(rows[0, 6] + np.pi / 2 - ours[0, 6]) == pytest.approx(1, abs=1e-9)
    points = np.fromfile(simulated / "data" / "000000" / "lidar_roof" / f"{record['frame_id']}.bin", "<f4")
    turned = Once(simulated, "train")[0]["points"].numpy()
    np.testing.assert_array_equal(points.reshape(-1, 4)[:, 0], turned[:, 1])
    np.testing.assert_array_equal(points.reshape(-1, 4)[:, 1], -turned[:, 0])


def test_sweeps_are_moved_into_the_frame(simulated):
    scipy = pytest.importorskip("scipy.spatial")
    for split in ("train", "val"):
        data = Once(simulated, split, sweeps=3)
        points = data[3]["points"].numpy()
        np.testing.assert_allclose(np.unique(points[:, 4]), [0, 0.5, 1.0], atol=1e-5)
        walls = points[(points[:, 2] > 1) & (np.abs(points[:, 1]) > 9)]
        now, before = walls[walls[:, 4] == 0], walls[walls[:, 4] > 0.9]
        assert np.median(scipy.cKDTree(now[:, :3]).query(before[:, :3])[0]) < 0.4


def test_raw_splits_have_no_boxes(simulated):
    data = Once(simulated, "raw_large")
    assert len(data) == 4
    assert data[0]["boxes"].shape == (0, 9)


def test_frames_without_objects_are_left_out_of_annotated_splits(simulated, tmp_path):
    shutil.copytree(simulated, tmp_path / "copy")
    path = tmp_path / "copy" / "data" / "000000" / "000000.json"
    content = json.loads(path.read_text())
    content["frames"][1]["annos"] = {"names": [], "boxes_3d": [], "boxes_2d": {}}
    del content["frames"][2]["annos"]
    path.write_text(json.dumps(content))
    index = read_once(tmp_path / "copy", "train")
    assert len(index) == 2
    # They still serve as sweeps.
    assert len(index.frame(1).sweep_files) == 3


def test_damaged_files_are_named(simulated, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(simulated, root)
    frame = root / Once(root, "train").frames.frame(0).file
    frame.write_bytes(frame.read_bytes()[:-4])
    with pytest.raises(DataError, match="truncated") as caught:
        Once(root, "train")[0]
    assert str(frame) in str(caught.value)
    (root / "data" / "000001" / "000001.json").write_text('{"frames": [{}]}')
    with pytest.raises(DataError, match=r"000001\.json: not a sequence of ONCE"):
        Once(root, "val")
    (root / "data" / "000001" / "000001.json").unlink()
    with pytest.raises(DataError, match=r"000001\.json: file is missing"):
        Once(root, "val")
    with pytest.raises(DataError, match=r"test\.txt: file is missing"):
        Once(root, "test")
    with pytest.raises(ConfigError, match="raw_small"):
        Once(root, "raw")


def test_previous_frames_as_published(simulated):
    """Two frames before; the second frame has one, the first none."""
    index = read_once(simulated, "train")
    data = Once(simulated, "train", previous={"gaps": (2,)}, remove_close=2.0)
    lags = [index.frame(n).sweep_lag[data.previous.choose(n, None)] if n else 0.0 for n in range(4)]
    np.testing.assert_allclose(lags, [0, 0.5, 1.0, 1.0], atol=1e-6)
    assert [len(data[n]["previous_points"]) for n in range(4)] == [
        len(Once(simulated, "train", remove_close=2.0)[other]["points"]) for other in (0, 0, 0, 1)
    ]


def test_frames_of_unknown_pose_have_no_sweeps_and_are_none(simulated, tmp_path):
    root = tmp_path / "once"
    shutil.copytree(simulated, root)
    path = root / "data" / "000000" / "000000.json"
    record = json.loads(path.read_text())
    record["frames"][1]["pose"] = [0] * 7
    path.write_text(json.dumps(record))
    index = read_once(root, "train")
    assert [len(index.frame(n).sweep_files) for n in range(4)] == [0, 0, 0, 1]
    assert np.array_equal(np.abs(index.world_from_sensor[1, :3, :3]).sum(axis=0), [1, 1, 1])
    record["frames"][1]["pose"] = [0, 0, 0, 0, 1, 2, 3]
    path.write_text(json.dumps(record))
    with pytest.raises(DataError, match="not finite"):
        read_once(root, "train")
