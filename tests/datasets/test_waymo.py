import numpy as np
import pytest

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.lidar.waymo import Waymo
from mae3d.datasets.lidar.waymo_reader import PROCESSED
from mae3d.errors import ConfigError, DataError

NAME = "segment-1_2_3"


def info(number):
    pose = np.eye(4)
    pose[0, 3] = 2.0 * number
    return {
        "point_cloud": {"num_features": 5, "lidar_sequence": NAME, "sample_idx": number},
        "frame_id": f"{NAME}_{number:03d}",
        "metadata": {"context_name": "1_2_3", "timestamp_micros": 1_550_000_000_000_000 + number * 100_000},
        "image": {"image_shape_0": (1280, 1920)},
        "pose": pose,
        "annos": {
            "name": np.array(["Vehicle", "Sign", "Pedestrian"]),
            "difficulty": np.array([0, 1, 2], dtype=np.int32),
            "obj_ids": np.array(["a", "b", "c"]),
            "num_points_in_gt": np.array([5, 0, 2]),
            "gt_boxes_lidar": np.arange(27, dtype=np.float64).reshape(3, 9) / 10,
        },
        "num_points_of_each_lidar": [3, 0, 0, 0, 0],
    }


def points(number):
    rows = np.arange(24, dtype=np.float32).reshape(4, 6) + number
    rows[:, 3:5] = [[0.5, 2.0], [3.0, 0.1], [0.0, 0.0], [1.0, 1.0]]
    rows[:, 5] = [-1, -1, 1, -1]  # the third lies in a no-label zone
    return rows


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / PROCESSED / NAME
    folder.mkdir(parents=True)
    save_array_pickle([info(n) for n in range(6)], folder / f"{NAME}.pkl")
    for n in range(6):
        np.save(folder / f"{n:04d}.npy", points(n))
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text(f"{NAME}_with_camera_labels.tfrecord\n")
    return tmp_path


def test_points_and_boxes(root):
    data = Waymo(root, "train")
    sample = data[2]
    assert sample["points"].shape == (3, 5)
    np.testing.assert_allclose(sample["points"][:, 3], np.tanh([0.5, 3.0, 1.0]), rtol=1e-6)
    np.testing.assert_allclose(sample["points"][:, 4], [2.0, 0.1, 1.0], rtol=1e-6)
    assert sample["box_labels"].tolist() == [0, -1, 1]
    assert sample["box_points"].tolist() == [5, 0, 2]
    np.testing.assert_allclose(sample["boxes"], np.arange(27).reshape(3, 9) / 10, rtol=1e-6)
    frame = data.frames.frame(2)
    assert frame.box_extra["difficulty"].tolist() == [0, 1, 2]
    assert frame.extra == {"context_name": "1_2_3", "timestamp_micros": 1_550_000_000_200_000}
    assert frame.tracks == ["a", "b", "c"]


def test_no_label_zones_elongation_sweeps_and_interval(root):
    kept = Waymo(root, "train", drop_no_label_zones=False, tanh_elongation=True)[0]["points"]
    assert len(kept) == 4
    np.testing.assert_allclose(kept[:, 4], np.tanh([2.0, 0.1, 0.0, 1.0]), rtol=1e-6)
    two = Waymo(root, "train", sweeps=2)[3]["points"].numpy()
    assert two.shape == (6, 6)
    np.testing.assert_allclose(two[3:, 0], points(2)[[0, 1, 3], 0] - 2.0)  # the car drove two metres
    np.testing.assert_allclose(two[3:, 5], 0.1, atol=1e-5)
    assert Waymo(root, "train", interval=5).frames.token.tolist() == [f"{NAME}_000", f"{NAME}_005"]
    with pytest.raises(ConfigError, match="interval"):
        Waymo(root, "train", interval=0)


def test_fractions_are_of_whole_sequences(root):
    for name in ("segment-4", "segment-5", "segment-6"):
        folder = root / PROCESSED / name
        folder.mkdir()
        save_array_pickle([info(0)], folder / f"{name}.pkl")
    (root / "ImageSets" / "train.txt").write_text(f"{NAME}\nsegment-4\nsegment-5\nsegment-6\n")
    (root / "subset.txt").write_text("segment-4_with_camera_labels.tfrecord\nsegment-6\n")
    assert Waymo(root, "train", sequences="subset.txt").frames.sequence.tolist() == ["segment-4", "segment-6"]
    few, more = (set(Waymo(root, "train", percent=p, subset=1).frames.sequence) for p in (25, 75))
    assert (len(few), len(more)) == (1, 3)
    assert few < more
    (root / "subset.txt").write_text("segment-9\n")
    with pytest.raises(DataError, match=r"subset\.txt: 1 of 1 sequences are not in the split, such as segment-9"):
        Waymo(root, "train", sequences="subset.txt")


def test_damaged_files_are_named(root):
    folder = root / PROCESSED / NAME
    np.save(folder / "0000.npy", np.zeros((3, 5), dtype=np.float32))
    data = Waymo(root, "train")
    with pytest.raises(DataError, match=r"0000\.npy: must be \[N, 6 or more\].*\[3, 5\]"):
        data[0]
    np.save(folder / "0001.npy", np.zeros((3, 6), dtype=np.float32))
    with pytest.raises(DataError, match=r"0001\.npy: holds no point"):
        data[1]
    (folder / f"{NAME}.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DataError, match="refused or damaged pickle"):
        Waymo(root, "train")
    save_array_pickle([{"pose": np.eye(4)}], folder / f"{NAME}.pkl")
    with pytest.raises(DataError, match="not infos of a sequence"):
        Waymo(root, "train")
    (folder / f"{NAME}.pkl").unlink()
    with pytest.raises(DataError, match=r"\.pkl: file is missing"):
        Waymo(root, "train")
    with pytest.raises(ConfigError, match="splits train, val, test"):
        Waymo(root, "training")


@pytest.mark.parametrize(
    ("value", "fault"), [(0.0, "not rigid"), (2.0, "not rigid"), (np.nan, "not finite"), (np.inf, "not finite")]
)
def test_bad_poses_are_named(root, value, fault):
    infos = [info(n) for n in range(6)]
    infos[2]["pose"][0, 0] = value
    save_array_pickle(infos, root / PROCESSED / NAME / f"{NAME}.pkl")
    with pytest.raises(DataError, match=rf"^\S+{NAME}\.pkl: the pose of frame 2 is {fault}"):
        Waymo(root, "train", previous={})


def test_previous_frames_reach_five_sweeps_back(root):
    data = Waymo(root, "train", previous={"gaps": (5,)})
    raw = Waymo(root, "train")
    moved = data[5]["previous_points"]
    assert moved[:, 0].tolist() == (raw[0]["points"][:, 0] - 10).tolist()  # two metres a sweep
    assert moved[:, 3:].tolist() == raw[0]["points"][:, 3:].tolist()
