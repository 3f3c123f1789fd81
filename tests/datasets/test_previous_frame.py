"""Two frames: which one comes along, moved by the real poses, through the same augmentation."""

import numpy as np
import pytest
import torch

from mae3d.datasets.lidar import Argoverse2, PreviousFrame, SequenceFolder, SimulatedDrives
from mae3d.datasets.lidar import collate_packed as collate
from mae3d.datasets.lidar.ground_truth import GroundTruthDatabase
from mae3d.datasets.transforms.lidar import (
    FlipScene,
    GroundTruthSampling,
    RangeFilter,
    RotateScene,
    ScaleScene,
    ShufflePoints,
    TranslateScene,
)
from mae3d.errors import ConfigError, DataError
from mae3d.ops import points_in_boxes
from tests.datasets.test_driving_sequences import write_drive


def gap(sample):
    """Median distance from points of the previous frame to their nearest in the current one, metres."""
    scipy = pytest.importorskip("scipy.spatial")
    now, before = (sample[name][:, :3].numpy() for name in ("points", "previous_points"))
    return np.median(scipy.cKDTree(now).query(before[::20])[0])


@pytest.mark.parametrize(("name", "number"), [("kitti_drive_0005", 20), ("kitti_odometry_00", 5)])
def test_real_previous_frames_lie_on_the_current_one(shared_data, name, number):
    data = SequenceFolder(shared_data / "lidar" / name, previous={"gaps": (5,)})
    wrong = SequenceFolder(shared_data / "lidar" / name, previous={"gaps": (5,)})
    wrong.frames.sensor_from_sweep[:] = np.eye(4)
    assert gap(data[number]) < 0.13
    assert gap(wrong[number]) > 1.5 * gap(data[number])


def test_argoverse_pair(shared_data):
    pytest.importorskip("pyarrow")
    data = Argoverse2(shared_data / "lidar" / "av2", previous={})
    assert gap(data[1]) < 0.2
    torch.testing.assert_close(data[0]["previous_points"], data[0]["points"])


def test_alignment_is_the_composition_of_the_poses(tmp_path):
    folder = write_drive(tmp_path / "drive")
    data = SequenceFolder(folder, previous=PreviousFrame((2,)))
    raw = [SequenceFolder(folder)[n] for n in range(4)]
    for number, other in ((3, 1), (2, 0), (1, 0), (0, 0)):
        sample = data[number]
        to_world, from_world = raw[other]["world_from_sensor"], raw[number]["world_from_sensor"].inverse()
        points = raw[other]["points"].double()
        homogeneous = torch.cat((points[:, :3], torch.ones(len(points), 1)), dim=1)
        expected = (homogeneous @ to_world.T @ from_world.T)[:, :3]
        torch.testing.assert_close(sample["previous_points"][:, :3].double(), expected, rtol=0, atol=1e-5)
        assert torch.equal(sample["previous_points"][:, 3], raw[other]["points"][:, 3])
        assert torch.equal(sample["points"], raw[number]["points"])


def test_a_car_at_rest_gives_the_previous_frame_as_it_is(tmp_path):
    folder = write_drive(tmp_path / "drive")
    path = folder / "poses.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(f"{number},1,0,0,5,0,1,0,6,0,0,1,7" for number in range(len(rows)))]))
    assert torch.equal(SequenceFolder(folder, previous={})[3]["previous_points"], SequenceFolder(folder)[2]["points"])


def test_gaps_are_drawn_and_stop_at_what_is_there():
    generator = np.random.default_rng(0)
    pair = PreviousFrame((3, 4, 4, 5))
    drawn = [pair.choose(9, generator) for _ in range(4000)]
    shares = np.bincount(drawn, minlength=5) / len(drawn)
    np.testing.assert_allclose(shares, [0, 0, 0.25, 0.5, 0.25], atol=0.03)
    assert {pair.choose(2, generator) for _ in range(50)} == {1}
    assert pair.choose(0, generator) is None
    assert [PreviousFrame((2,)).choose(there, generator) for there in (0, 1, 2, 9)] == [None, 0, 1, 1]


def test_first_frames_pair_with_themselves_or_are_left_out(shared_data):
    folder = shared_data / "lidar" / "kitti_drive_0005"
    itself = SequenceFolder(folder, previous={})
    assert torch.equal(itself[0]["previous_points"], itself[0]["points"])
    assert torch.equal(itself[30]["previous_points"], itself[30]["points"])  # behind the gap in the recording
    dropped = SequenceFolder(folder, previous={"first": "drop"})
    assert len(dropped) == len(itself) - 2
    assert dropped.sample_name(0).endswith("000001.npz")


def test_the_same_index_gives_the_same_pair(tmp_path):
    data = SequenceFolder(write_drive(tmp_path / "drive", 6), previous={"gaps": (1, 2, 3)}, transforms=[RotateScene()])
    first, second = data[5], data[5]
    assert torch.equal(first["previous_points"], second["previous_points"])
    data.set_epoch(1)
    assert not torch.equal(first["previous_points"], data[5]["previous_points"])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda rows: [r.replace("2,1,0,0,2", "2,2,0,0,2") for r in rows], DataError, "frame 2 .*not orthonormal"),
        (lambda rows: [r.replace("2,1,0,0,2", "2,nan,0,0,2") for r in rows], DataError, "frame 2 is not finite"),
        (lambda rows: [r.replace("2,1,0,0,2", "2,1,0,0,inf") for r in rows], DataError, "frame 2 is not finite"),
        (lambda rows: [r.replace("2,1,0,0,2", "2,-1,0,0,2") for r in rows], DataError, "frame 2 .*mirrors"),
        (
            lambda rows: ["2" + 12 * ",0" if r.startswith("2,") else r for r in rows],
            DataError,
            "frame 2 .*not orthonormal",
        ),
        (lambda rows: [*rows, rows[3]], DataError, "frame 2 has 2 poses"),
        (
            lambda rows: [r for r in rows if not r.startswith("2,")],
            DataError,
            "no pose for 1 of 4 frames, the first is 2",
        ),
        (None, ConfigError, "none of the 4 frames has an earlier sweep.*poses"),
    ],
)
def test_bad_poses_are_named(tmp_path, change, error, message):
    folder = write_drive(tmp_path / "drive")
    path = folder / "poses.csv"
    if change is None:
        path.unlink()
    else:
        path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(error, match=message) as caught:
        SequenceFolder(folder, previous={})
    assert str(folder if change is None else path) in str(caught.value)


@pytest.mark.parametrize("time", ["nan", "inf", "-1"])
def test_times_that_do_not_ascend_are_named(tmp_path, time):
    folder = write_drive(tmp_path / "drive")
    path = folder / "poses.csv"
    header, *rows = path.read_text().splitlines()
    times = ["0.0", "0.1", time, "0.3"]
    path.write_text("\n".join([f"{header},time_s", *(f"{row},{value}" for row, value in zip(rows, times))]))
    with pytest.raises(DataError, match=rf"poses\.csv: the time of frame 2, {float(time)} s"):
        SequenceFolder(folder, previous={})


def test_a_file_of_poses_that_is_no_text_is_named(tmp_path):
    folder = write_drive(tmp_path / "drive")
    (folder / "poses.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(DataError, match=r"poses\.csv: not a text file"):
        SequenceFolder(folder, previous={})


def test_settings_are_checked(tmp_path):
    folder = write_drive(tmp_path / "drive")
    for options, message in (
        ({"previous": {"gaps": ()}}, "gaps must be"),
        ({"previous": {"gaps": (0,)}}, "gaps must be"),
        ({"previous": {"first": "skip"}}, "itself"),
        ({"previous": {"gaps": (4,)}}, "reach farther than the 3 earlier sweeps"),
        ({"previous": {}, "sweeps": 2}, "previous needs sweeps=1"),
    ):
        with pytest.raises(ConfigError, match=message):
            SequenceFolder(folder, **options)


def test_both_frames_go_through_the_same_augmentation(tmp_path):
    transforms = [FlipScene(), RotateScene(), ScaleScene(0.5, 2.0), TranslateScene(1.0)]
    sample = SequenceFolder(write_drive(tmp_path / "drive"), previous={})[3]
    sample["previous_points"] = sample["points"].clone()
    for transform in transforms:
        sample = transform(sample, np.random.default_rng(0))
    assert torch.equal(sample["previous_points"], sample["points"])
    batch = collate([{**sample, "previous_points": torch.cat((sample["points"], sample["points"]))}] * 3)
    assert batch["previous_offsets"].tolist() == [0, 40, 80, 120]
    for transform in transforms:
        batch = transform(batch, torch.Generator().manual_seed(0))
    one, both = batch["points"].view(3, 20, 4), batch["previous_points"].view(3, 2, 20, 4)
    assert torch.equal(both[:, 0], one)
    assert torch.equal(both[:, 1], one)
    assert not torch.allclose(one[0], one[1])


def test_filters_and_shuffling_reach_the_previous_frame(tmp_path):
    data = SequenceFolder(write_drive(tmp_path / "drive"), previous={})
    batch = collate([data[n] for n in (2, 3)])
    cut = RangeFilter((-1.0, -1.0, -1.0, 1.0, 1.0, 1.0))(batch)
    rows = batch["previous_points"]
    inside = (rows[:, :3].abs() < 1).all(1)
    assert torch.equal(cut["previous_points"], rows[inside])
    assert cut["previous_offsets"].tolist() == [0, int(inside[:20].sum()), int(inside.sum())]
    mixed = ShufflePoints()(batch, torch.Generator().manual_seed(0))["previous_points"]
    assert not torch.equal(mixed, rows)
    for a, b in zip(mixed.split(20), rows.split(20)):
        assert sorted(a.tolist()) == sorted(b.tolist())


def test_pasted_objects_stand_in_both_frames(tmp_path):
    sample = SequenceFolder(write_drive(tmp_path / "drive"), previous={})[3]
    boxes = np.array([[40.0, 5, 0, 4, 2, 2, 0, 0, 0]], dtype=np.float32)
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (7, 4)).astype(np.float32)
    database = GroundTruthDatabase(("Car",), points, np.array([0, 7]), boxes, np.array([0]), np.array(["a"]))
    sample["previous_points"][:2, :3] = torch.tensor([40.0, 5.0, 0.0])  # stands where the object is pasted
    pasted = GroundTruthSampling(database, {"Car": 1})(sample, np.random.default_rng(0))
    where = torch.from_numpy(boxes[:, :7])
    for name, left in (("points", 20), ("previous_points", 18)):
        assert len(pasted[name]) == left + 7
        assert points_in_boxes(pasted[name][None, :, :3].contiguous(), where[None]).counts[0].item() == 7
    assert torch.equal(pasted["points"][-7:], pasted["previous_points"][-7:])


def test_simulated_pairs_move_with_the_car():
    data = SimulatedDrives(4, columns=180, previous_lag=0.5)
    alone = SimulatedDrives(4, columns=180)
    for number in range(4):
        sample = data[number]
        assert torch.equal(sample["points"], alone[number]["points"])
        assert gap(sample) < 0.6
        assert not torch.equal(sample["points"][:50], sample["previous_points"][:50])
    with pytest.raises(ConfigError, match="previous_lag"):
        SimulatedDrives(1, previous_lag=3.0)
