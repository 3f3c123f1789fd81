import json
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mae3d.datasets.lidar.base import collate_packed
from mae3d.datasets.lidar.fractions import fraction_by_sequence, fraction_by_time, take_fraction
from mae3d.datasets.lidar.frame_index import Frame, FrameIndex
from mae3d.datasets.lidar.nuscenes import NuScenes
from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    root = tmp_path_factory.mktemp("nuscenes")
    write_nuscenes(NuScenesPlan(root, 2, 1, key_frames=3, seed=1))
    return root


def inside(points, box, margin=0.12):
    offset = points[:, :3] - box[:3]
    c, s = np.cos(box[6]), np.sin(box[6])
    local = np.stack((offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s, offset[:, 2]), -1)
    return (np.abs(local) <= box[3:6] / 2 + margin).all(axis=1)


def test_points_boxes_and_classes(simulated):
    data = NuScenes(simulated, "mini_train", sweeps=1)
    assert len(data) == 6
    sample = data[1]
    assert sample["points"].shape[1] == 4
    assert sample["points"][:, 3].max() > 1  # intensity 0 to 255
    points, boxes = sample["points"].numpy(), sample["boxes"].numpy()
    seen = sample["box_points"] > 10
    assert seen.sum() > 3
    for box, count in zip(boxes[seen], sample["box_points"][seen].tolist()):
        assert inside(points, box).sum() >= 0.97 * count
    assert data.classes[int(sample["box_labels"].min())] == "car"
    ahead = np.abs(boxes[np.hypot(boxes[:, 7], boxes[:, 8]) > 2][:, 7])
    assert len(ahead) > 0  # traffic moves along the street, which is ahead
    assert (ahead > 1.5).mean() > 0.7


def test_sweeps_are_moved_into_the_frame(simulated):
    one, five = (NuScenes(simulated, "mini_train", sweeps=n, lag=True) for n in (1, 5))
    number = 2  # has ten sweeps before it
    points = five[number]["points"].numpy()
    lags = np.unique(points[:, 4])
    np.testing.assert_allclose(lags, np.arange(5) * 0.05, atol=1e-4)
    np.testing.assert_array_equal(points[points[:, 4] == 0], one[number]["points"].numpy())
    frame = five.frames.frame(number)
    walls = points[(points[:, 2] > 1) & (np.abs(points[:, 1]) > 9)]
    assert len(walls) > 50
    now, before = walls[walls[:, 4] == 0], walls[walls[:, 4] == lags[-1]]
    scipy = pytest.importorskip("scipy.spatial")
    gap = scipy.cKDTree(now[:, :3]).query(before[:, :3])[0]
    assert np.median(gap) < 0.3
    world = (frame.world_from_sensor @ np.append(points[0, :3], 1))[:3]
    assert np.isfinite(world).all()


def test_boxes_equal_those_of_the_devkit(simulated):
    pytest.importorskip("nuscenes", reason='needs the devkit: pip install "mae3d[nuscenes]"')
    from nuscenes.nuscenes import NuScenes as Devkit

    devkit, index = Devkit("v1.0-mini", str(simulated), verbose=False), read_nuscenes(simulated, "mini_train")
    for number in range(len(index)):
        frame = index.frame(number)
        sample = devkit.get("sample", frame.token)
        _, boxes, _ = devkit.get_sample_data(sample["data"]["LIDAR_TOP"])
        by_track = {devkit.get("sample_annotation", box.token)["instance_token"]: box for box in boxes}
        for row, track in zip(frame.boxes, frame.tracks):
            box = by_track[track]
            x, y, z = box.center  # x right, y ahead
            np.testing.assert_allclose(row[:3], [y, -x, z], atol=1e-6)
            np.testing.assert_allclose(row[3:6], np.asarray(box.wlh)[[1, 0, 2]])
            ahead = box.orientation.rotation_matrix[:, 0]
            assert np.cos(row[6] - np.arctan2(-ahead[0], ahead[1])) == pytest.approx(1, abs=1e-9)
            velocity = devkit.box_velocity(box.token)
            np.testing.assert_allclose(np.hypot(*row[7:9]), np.hypot(*velocity[:2]), atol=1e-5)


def test_batches_are_packed(simulated):
    data = NuScenes(simulated, "mini_train", sweeps=2)
    batch = next(iter(DataLoader(data, batch_size=3, collate_fn=collate_packed)))
    assert batch["offsets"].tolist()[-1] == len(batch["points"])
    assert batch["box_offsets"].tolist()[-1] == len(batch["boxes"]) == len(batch["box_labels"])
    first = slice(0, int(batch["offsets"][1]))
    torch.testing.assert_close(batch["points"][first], data[0]["points"])
    assert batch["world_from_sensor"].dtype == torch.float64


def test_index_file_round_trip(simulated, tmp_path):
    index = read_nuscenes(simulated, "mini_val")
    index.save(tmp_path / "index.npz")
    again = FrameIndex.load(tmp_path / "index.npz")
    for number in range(len(index)):
        one, other = index.frame(number), again.frame(number)
        assert one.token == other.token
        assert one.tracks == other.tracks
        assert one.extra.keys() == other.extra.keys()
        assert all(np.array_equal(value, other.extra[name]) for name, value in one.extra.items())
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.box_extra["attribute"], other.box_extra["attribute"])
        np.testing.assert_array_equal(one.sensor_from_sweep, other.sensor_from_sweep)


def frames(count):
    return FrameIndex.from_frames(
        "test", ("car",), [Frame(str(i), f"s{i // 10}", f"{i}.bin", float(i), np.eye(4)) for i in range(count)]
    )


def test_fractions_follow_the_published_rule():
    index = frames(100)
    numbers = {percent: set(fraction_by_time(index, percent).token) for percent in (5, 20, 40, 60, 80, 100)}
    assert {percent: len(chosen) for percent, chosen in numbers.items()} == {
        percent: percent for percent in (5, 20, 40, 60, 80, 100)
    }
    assert numbers[20] < numbers[40] < numbers[60]
    assert numbers[40] < numbers[80]
    assert not numbers[60] <= numbers[80]
    few, more = (set(fraction_by_sequence(index, p, subset=3).sequence) for p in (20, 50))
    assert (len(few), len(more)) == (2, 5)
    assert few < more
    with pytest.raises(ConfigError, match="33 %"):
        fraction_by_time(index, 33)
    assert len({fraction_by_sequence(index, 50, subset=s).sequence[0] for s in range(8)}) > 1
    assert take_fraction(index, 100, "time") is index
    with pytest.raises(ConfigError, match='"time" or "sequence"'):
        take_fraction(index, 20, "frames")
    with pytest.raises(ConfigError, match="percent must be in"):
        take_fraction(index, 0)


def damaged(simulated, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(simulated, root)
    return root, root / read_nuscenes(root, "mini_train").frame(0).file


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "file is missing"),
        (b"", "file is empty"),
        (b"\0" * 30, "truncated or has another number of columns"),
        (np.full(10, np.nan, dtype="<f4").tobytes(), "2 of 2 points are not finite, first row 0"),
        (np.linspace(-9, 9, 40, dtype="<f4").tobytes(), "column 4 should hold the ring.*another number of columns"),
    ],
)
def test_damaged_point_files_are_named(simulated, tmp_path, content, message):
    root, path = damaged(simulated, tmp_path)
    path.unlink() if content is None else path.write_bytes(content)
    data = NuScenes(root, "mini_train")
    with pytest.raises(DataError, match=message) as caught:
        data[0]
    assert str(path) in str(caught.value)
    skipping = NuScenes(root, "mini_train", on_error="skip")
    assert skipping[0]["index"] == 1
    assert str(path) in skipping.skip_report()


def test_damaged_tables_are_named(simulated, tmp_path):
    root, _ = damaged(simulated, tmp_path)
    table = root / "v1.0-mini" / "ego_pose.json"
    records = json.loads(table.read_text())
    table.write_text(json.dumps(records[1:]))
    with pytest.raises(DataError, match=r"ego_pose\.json has no record"):
        read_nuscenes(root, "mini_train")
    records[0]["rotation"] = [float("nan")] * 4
    table.write_text(json.dumps(records))
    with pytest.raises(DataError, match="pose of world_from_sensor is not finite"):
        read_nuscenes(root, "mini_train")
    table.write_text("{")
    with pytest.raises(DataError, match=r"ego_pose\.json: not a table"):
        read_nuscenes(root, "mini_train")
    table.unlink()
    with pytest.raises(DataError, match=r"ego_pose\.json: file is missing"):
        read_nuscenes(root, "mini_train")
    with pytest.raises(DataError, match=r"no such folder.*v1.0-mini"):
        read_nuscenes(root, "train")


def test_sweeps_are_drawn_at_random_as_published(simulated):
    data = NuScenes(simulated, "mini_train", sweeps=3, sweep_order="random", seed=1)
    lags = set()
    for epoch in range(12):
        data.set_epoch(epoch)
        ages = np.unique(data[2]["points"][:, -1].numpy().round(3))
        assert len(ages) == 3  # without replacement
        assert ages[0] == 0
        lags |= set(ages.tolist())
        torch.testing.assert_close(data[2]["points"], data[2]["points"])
    assert len(lags) > 6


def test_previous_frames_are_sweeps(simulated):
    """Nine sweeps of 20 Hz back: where the sweep of that age lies; a first key frame has itself."""
    pairs, alone = NuScenes(simulated, "mini_train", previous={"gaps": (9,)}), NuScenes(simulated, "mini_train")
    moved = pairs[2]["previous_points"]
    assert pairs.frames.frame(2).sweep_lag[8] == pytest.approx(0.45, abs=1e-3)
    assert torch.equal(moved, NuScenes(simulated, "mini_train", sweeps=10, lag=False)[2]["points"][-len(moved) :])
    first = int(np.flatnonzero(np.diff(pairs.frames.sweep_offsets) == 0)[0])
    assert torch.equal(pairs[first]["previous_points"], alone[first]["points"])


def test_a_frame_without_sweeps_stands_alone_or_is_repeated(simulated):
    first = int(np.flatnonzero(np.diff(read_nuscenes(simulated, "mini_train").sweep_offsets) == 0)[0])
    alone = NuScenes(simulated, "mini_train", sweeps=3)[first]["points"]
    padded = NuScenes(simulated, "mini_train", sweeps=3, pad_empty_sweeps=True)
    torch.testing.assert_close(padded[first]["points"], alone.repeat(3, 1))
    assert (alone[:, -1] == 0).all()
    torch.testing.assert_close(padded[first + 1], NuScenes(simulated, "mini_train", sweeps=3)[first + 1])


def test_points_of_the_own_vehicle(simulated):
    def close(points, radius):
        return (points[:, :2].abs() < radius).all(dim=1).sum()

    radius = 6.0
    whole = NuScenes(simulated, "mini_train", sweeps=2)[2]["points"]
    frame = NuScenes(simulated, "mini_train")[2]["points"]
    everywhere = NuScenes(simulated, "mini_train", remove_close=radius)[2]["points"]
    published = NuScenes(simulated, "mini_train", sweeps=2, remove_close=radius, close_in="sweeps")[2]["points"]
    assert close(frame, radius) > 0
    assert len(everywhere) == len(frame) - close(frame, radius)
    torch.testing.assert_close(published[published[:, -1] == 0], whole[whole[:, -1] == 0])
    assert len(published) < len(whole)
    with pytest.raises(DataError, match=r"pcd\.bin: no point is farther than 1000 m"):
        NuScenes(simulated, "mini_train", remove_close=1000)[0]


def test_wrong_options_are_named(simulated):
    for option in ("sweep_order", "close_in"):
        with pytest.raises(ConfigError, match=f"{option} must be one of"):
            NuScenes(simulated, "mini_train", **{option: "none"})
    with pytest.raises(ConfigError, match="no features"):
        NuScenes(simulated, "mini_train", features=("colour",))
    with pytest.raises(ConfigError, match="sweeps must be"):
        NuScenes(simulated, "mini_train", sweeps=0)


def test_tables_of_other_sensors_and_scenes_are_left_out_and_processes_change_nothing(simulated, tmp_path):
    root, _ = damaged(simulated, tmp_path)
    folder = root / "v1.0-mini"
    tables = {n: json.loads((folder / f"{n}.json").read_text()) for n in ("sensor", "calibrated_sensor", "sample_data")}
    tables["sensor"].append({"token": "camera", "channel": "CAM_FRONT", "modality": "camera"})
    tables["calibrated_sensor"].append({**tables["calibrated_sensor"][0], "token": "eye", "sensor_token": "camera"})
    for record in tables["sample_data"][:30]:
        other = {"token": f"image {record['token']}", "calibrated_sensor_token": "eye", "ego_pose_token": "nowhere"}
        tables["sample_data"].append({**record, **other, "filename": "samples/CAM_FRONT/x.jpg"})
    for name, records in tables.items():
        (folder / f"{name}.json").write_text(json.dumps(records))
    told = []
    index = read_nuscenes(root, "mini_train", workers=2, progress=lambda done, total: told.append((done, total)))
    plain = read_nuscenes(simulated, "mini_train")
    for name in ("token", "file", "sweep_file", "world_from_sensor", "boxes", "labels", "tracks", "num_points"):
        np.testing.assert_array_equal(getattr(index, name), getattr(plain, name))
    scenes = len(set(plain.sequence))
    assert told == [(number + 1, scenes) for number in range(scenes)]
    with pytest.raises(ConfigError, match="not 'training'"):
        read_nuscenes(root, "training")
