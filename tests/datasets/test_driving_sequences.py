"""Drives in folders, SemanticKITTI and Argoverse 2."""

import numpy as np
import pytest
import torch

from mae3d.datasets.lidar.argoverse2 import Argoverse2
from mae3d.datasets.lidar.semantickitti import SemanticKitti
from mae3d.datasets.lidar.sequence_folder import SequenceFolder
from mae3d.datasets.lidar.sequences import earlier_sweeps
from mae3d.errors import ConfigError, DataError, MissingExtraError
from mae3d.ops import points_in_boxes


def counts(sample):
    return points_in_boxes(sample["points"][None, :, :3].contiguous(), sample["boxes"][None, :, :7]).counts[0]


def static_gap(data, number):
    """Median distance from points of the oldest sweep to their nearest in the frame's own."""
    scipy = pytest.importorskip("scipy.spatial")
    points = data[number]["points"].numpy()
    now, before = points[points[:, 4] == 0], points[points[:, 4] == points[:, 4].max()]
    return np.median(scipy.cKDTree(now[:, :3]).query(before[::20, :3])[0])


def test_drive_0005(shared_data):
    data = SequenceFolder(shared_data / "lidar" / "kitti_drive_0005", classes=("Car", "Cyclist", "Pedestrian", "Van"))
    assert len(data) == 65
    assert len(data.frames.boxes) == 256
    for number in (0, 29, 30, 64):
        sample = data[number]
        assert counts(sample).tolist() == sample["box_points"].tolist()
    # The recording has a gap after frame 29: no sweep crosses it.
    assert [len(data.frames.frame(n).sweep_files) for n in (0, 5, 29, 30, 31)] == [0, 5, 9, 0, 1]
    cyclist = [f for f in map(data.frames.frame, range(30)) if "1" in f.tracks]
    speeds = [np.hypot(*f.boxes[f.tracks.index("1"), 7:9]) for f in cyclist]
    assert 2 < np.median(speeds) < 8


@pytest.mark.parametrize(("name", "number"), [("kitti_drive_0005", 20), ("kitti_odometry_00", 5)])
def test_sweeps_of_real_drives_lie_on_each_other(shared_data, name, number):
    folder = shared_data / "lidar" / name
    moved = static_gap(SequenceFolder(folder, sweeps=6), number)
    wrong = SequenceFolder(folder, sweeps=6)
    wrong.frames.sensor_from_sweep[:] = np.eye(4)
    assert moved < 0.13
    assert static_gap(wrong, number) > 1.5 * moved


def test_sensor_grids_and_clouds_without_poses(shared_data):
    ouster = SequenceFolder(shared_data / "lidar" / "ouster")
    assert len(ouster) == 5
    points = ouster[0]["points"]
    assert points.shape[1] == 4
    assert (points[:, :3] != 0).any(dim=1).all()
    assert len(SequenceFolder(shared_data / "lidar" / "newer_college", sweeps=3)[2]["points"]) < 30000


def test_sweeps_end_at_gaps():
    times = np.array([0.0, 0.1, 0.2, 1.0, 1.1])
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[:, 0, 3] = np.arange(5)
    fields = earlier_sweeps("abcde", times, poses, 4, 10, 0.3)
    assert fields["sweep_files"] == ["d"]
    assert fields["sensor_from_sweep"][0, 0, 3] == -1
    assert earlier_sweeps("abcde", times, poses, 2, 2, 0.3)["sweep_files"] == ["b"]
    assert earlier_sweeps("abcde", times, poses, 3, 5, 0.3)["sweep_files"] == []


def write_drive(folder, frames=4):
    rng = np.random.default_rng(0)
    (folder / "velodyne").mkdir(parents=True)
    lines = ["frame," + ",".join(f"m{r}{c}" for r in range(3) for c in range(4))]
    for n in range(frames):
        np.save(folder / "velodyne" / f"{n:06d}.npy", rng.normal(size=(20, 4)).astype(np.float32))
        lines.append(f"{n},1,0,0,{n},0,1,0,0,0,0,1,0")
    (folder / "poses.csv").write_text("\n".join(lines))
    box = "frame,track_id,class,x,y,z,length,width,height,yaw"
    rows = [f"{n},7,Car,{10 + n},1,0,4,2,1.5,0.1" for n in range(frames)]  # keeps twice its distance
    (folder / "boxes.csv").write_text("\n".join([box, *rows]))
    return folder


def test_velocities_are_over_ground(tmp_path):
    data = SequenceFolder(write_drive(tmp_path / "drive"))
    # Ten frames a second; ego and box gain one metre each a frame.
    np.testing.assert_allclose(data.frames.boxes[:, 7:9], [[20, 0]] * 4, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "velodyne" / "000001.npy").write_bytes(b"no array"), r"not a readable \.npy"),
        (lambda f: np.save(f / "velodyne" / "000001.npy", np.zeros((4, 2))), r"must be \[N, 3 or more\]"),
        (lambda f: np.save(f / "velodyne" / "000001.npy", np.zeros((0, 4))), "holds no point"),
        (lambda f: np.save(f / "velodyne" / "000001.npy", np.full((2, 4), np.inf)), "are not finite"),
        (lambda f: (f / "poses.csv").write_text("frame,m00\n0,1\n"), "lacks the columns"),
        (lambda f: (f / "poses.csv").write_text((f / "poses.csv").read_text().replace("0,1,0", "0,x,0")), "m00"),
        (lambda f: (f / "boxes.csv").write_text("frame,x\n1,2\n"), "lacks the columns"),
        (
            lambda f: (f / "poses.csv").write_text((f / "poses.csv").read_text().rsplit("\n", 1)[0]),
            "no pose for 1 of 4",
        ),
        (
            lambda f: (f / "boxes.csv").write_text((f / "boxes.csv").read_text().replace("1,7", "a,7")),
            "no whole number",
        ),
    ],
)
def test_damaged_drives_are_named(tmp_path, change, message):
    folder = write_drive(tmp_path / "drive")
    change(folder)
    with pytest.raises(DataError, match=message) as caught:
        SequenceFolder(folder)[1]
    assert str(folder) in str(caught.value)


@pytest.fixture
def odometry(shared_data, tmp_path):
    """Six real sweeps in SemanticKITTI's layout, with the camera poses that the lidar poses imply."""
    source = shared_data / "lidar" / "kitti_odometry_00"
    folder = tmp_path / "sequences" / "00"
    (folder / "velodyne").mkdir(parents=True)
    (folder / "calib.txt").write_bytes((source / "calib.txt").read_bytes())
    row = next(line for line in (source / "calib.txt").read_text().splitlines() if line.startswith("Tr"))
    camera_from_lidar = np.vstack((np.array(row.split()[1:], dtype=float).reshape(3, 4), (0, 0, 0, 1)))
    table = np.loadtxt(source / "poses.csv", delimiter=",", skiprows=1)[:6]
    lines = []
    for n in range(6):
        np.load(source / "velodyne" / f"{n:06d}.npz")["points"].tofile(folder / "velodyne" / f"{n:06d}.bin")
        pose = np.vstack((table[n, 2:].reshape(3, 4), (0, 0, 0, 1)))
        camera = camera_from_lidar @ pose @ np.linalg.inv(camera_from_lidar)
        lines.append(" ".join(f"{value:.9e}" for value in camera[:3].ravel()))
    (folder / "poses.txt").write_text("\n".join(lines))
    (folder / "times.txt").write_text("\n".join(f"{value:e}" for value in table[:, 1]))
    return tmp_path


def test_semantickitti(odometry, shared_data):
    data = SemanticKitti(odometry, ["00"], sweeps=6)
    direct = SequenceFolder(shared_data / "lidar" / "kitti_odometry_00", sweeps=6)
    np.testing.assert_allclose(data.frames.world_from_sensor, direct.frames.world_from_sensor[:6], atol=1e-5)
    np.testing.assert_allclose(data[5]["points"], direct[5]["points"], atol=1e-4)
    assert data.frames.frame(3).sweep_files[0] == "sequences/00/velodyne/000002.bin"


def test_semantickitti_in_pairs(odometry):
    """The earlier frame lies where the sweep of the same age does; the first has itself."""
    pairs = SemanticKitti(odometry, ["00"], previous={"gaps": (2,)})
    sweeps = SemanticKitti(odometry, ["00"], sweeps=3, lag=False)
    alone = SemanticKitti(odometry, ["00"])
    assert torch.equal(pairs[0]["previous_points"], alone[0]["points"])
    moved = pairs[4]["previous_points"]
    assert torch.equal(moved, sweeps[4]["points"][-len(moved) :])
    assert not torch.allclose(moved, alone[2]["points"], atol=0.5)


@pytest.mark.parametrize(
    ("file", "line", "text", "message"),
    [
        ("poses.txt", 2, " ".join(["0"] * 12), r"poses\.txt: the pose of sweep 2 is not rigid"),
        ("poses.txt", 2, " ".join(["nan"] * 12), r"poses\.txt: the pose of sweep 2 is not finite"),
        ("poses.txt", 2, " ".join(["inf"] * 12), r"poses\.txt: the pose of sweep 2 is not finite"),
        ("times.txt", 3, "nan", r"times\.txt: the time of sweep 3, nan s"),
        ("times.txt", 3, "0", r"times\.txt: the time of sweep 3, 0.0 s"),
        ("calib.txt", -1, "Tr: " + " ".join(["0"] * 12), r"calib\.txt: the pose of Tr is not rigid: .* Copy it again"),
    ],
)
def test_bad_poses_and_times_of_semantickitti_are_named(odometry, file, line, text, message):
    path = odometry / "sequences" / "00" / file
    lines = path.read_text().splitlines()
    lines[line] = text
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=message):
        SemanticKitti(odometry, ["00"])


def test_damaged_semantickitti_is_named(odometry):
    folder = odometry / "sequences" / "00"
    with pytest.raises(ConfigError, match="splits train, val, test"):
        SemanticKitti(odometry, "training")
    with pytest.raises(DataError, match="sequence 01 is missing"):
        SemanticKitti(odometry, "train")
    poses = (folder / "poses.txt").read_text()
    (folder / "poses.txt").write_text(poses.rsplit("\n", 1)[0])
    with pytest.raises(DataError, match="5 poses and 6 times"):
        SemanticKitti(odometry, ["00"])
    (folder / "poses.txt").write_text("1 2 3\n")
    with pytest.raises(DataError, match="every line must hold 12 numbers"):
        SemanticKitti(odometry, ["00"])
    (folder / "poses.txt").unlink()
    with pytest.raises(DataError, match=r"poses/00\.txt: file is missing"):
        SemanticKitti(odometry, ["00"])


def test_argoverse2(shared_data):
    pytest.importorskip("pyarrow", reason='needs pyarrow: pip install "mae3d[argoverse]"')
    data = Argoverse2(shared_data / "lidar" / "av2", sweeps=2, features=("intensity", "laser"))
    assert len(data) == 2
    single = Argoverse2(shared_data / "lidar" / "av2")
    for number in range(2):
        sample = single[number]
        assert len(sample["boxes"]) == 81
        assert counts(sample).tolist() == sample["box_points"].tolist()
    assert data[1]["points"].shape[1] == 6
    assert len(data[1]["points"]) == 99466 + 99229
    assert data.frames.frame(1).sweep_lag[0] == pytest.approx(0.100196, abs=1e-6)
    # Track velocities agree with the movement of points: the scene flow annotated for the first sweep.
    flow = _flow(shared_data)
    frame, points = single.frames.frame(0), single[0]["points"]
    inside = points_in_boxes(points[None, :, :3].contiguous(), single[0]["boxes"][None, :, :7]).index[0].numpy()
    moving = [row for row in range(81) if np.hypot(*frame.boxes[row, 7:9]) > 3 and (inside == row).sum() > 20]
    assert moving
    ego = np.linalg.inv(single.frames.world_from_sensor[1]) @ single.frames.world_from_sensor[0]
    for row in moving:
        start = points[inside == row, :3].numpy()
        still = start @ ego[:3, :3].T + ego[:3, 3] - start  # flow of what stands
        over_ground = (flow[inside == row] - still).mean(axis=0)[:2] / 0.1
        np.testing.assert_allclose(over_ground, frame.boxes[row, 7:9], atol=0.6)


def _flow(shared_data):
    from pyarrow import feather

    path = next((shared_data / "lidar" / "av2").glob("*/flow_labels.feather"))
    table = feather.read_table(path)
    return np.stack([table.column(f"flow_t{axis}_m").to_numpy() for axis in "xyz"], axis=1)


def test_argoverse2_without_pyarrow_names_the_extra(shared_data, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"mae3d\[argoverse\]"):
        Argoverse2(shared_data / "lidar" / "av2")


def test_damaged_argoverse2_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="holds no LOG/sensors/lidar"):
        Argoverse2(tmp_path)
    folder = tmp_path / "log" / "sensors" / "lidar"
    folder.mkdir(parents=True)
    (folder / "123.feather").write_bytes(b"nothing")
    (tmp_path / "log" / "city_SE3_egovehicle.feather").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a readable feather file"):
        Argoverse2(tmp_path)
    (folder / "now.feather").write_bytes(b"nothing")
    with pytest.raises(DataError, match="time stamp"):
        Argoverse2(tmp_path)
