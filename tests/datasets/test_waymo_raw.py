"""Waymo's own files: range images to points, labels, and the layout that training reads."""

import numpy as np
import pytest

from mae3d.datasets.lidar import Waymo
from mae3d.datasets.lidar.prepare import Request, prepare
from mae3d.datasets.lidar.waymo_conversion import convert_segments
from mae3d.datasets.lidar.waymo_reader import PROCESSED
from mae3d.datasets.lidar.waymo_segment import read_segment
from mae3d.errors import DataError

pytest.importorskip("google.protobuf")
from tests.oracles.waymo_files import make_frame, write_segment

NAME = "segment-10_20_30_with_camera_labels"


@pytest.fixture
def segment(tmp_path):
    rng = np.random.default_rng(5)
    made = [make_frame(rng, number) for number in range(3)]
    path = tmp_path / "raw_data" / "training" / f"{NAME}.tfrecord"
    write_segment(path, [frame for frame, _, _ in made])
    return path, made


def test_points_equal_those_worked_out_pixel_by_pixel(segment):
    path, made = segment
    for found, (_, expected, pose) in zip(read_segment(path), made, strict=True):
        both = np.concatenate([cloud for _, cloud, _ in expected])
        assert found.points.dtype == np.float32
        np.testing.assert_allclose(found.points, both, atol=2e-4)  # ranges and poses are stored in single precision
        assert found.points_of_lidar == [len(cloud) for _, cloud, _ in expected]
        np.testing.assert_array_equal(found.pose, pose)
    first = next(read_segment(path, returns=1))
    np.testing.assert_allclose(first.points, np.concatenate([c[:n] for _, c, n in made[0][1]]), atol=2e-4)


def test_labels_and_velocities(segment):
    path, made = segment
    frame, _, pose = made[1]
    found = list(read_segment(path))[1]
    assert (found.context_name, found.timestamp_micros) == ("10_20_30", 1_550_000_000_100_000)
    assert found.names.tolist() == ["Vehicle", "Pedestrian", "unknown", "Cyclist"]
    assert found.difficulty.tolist() == [0, 2, 1, 1]
    assert found.num_points.tolist() == [40, 3, 9, 0]
    for row, label in zip(found.boxes, frame.laser_labels):
        box = label.box
        sizes = [box.length, box.width, box.height]
        np.testing.assert_allclose(row[:7], [box.center_x, box.center_y, box.center_z, *sizes, box.heading])
        over_ground = pose[:3, :3] @ [*row[7:9], 0]  # what is lost of the speed is upright in the vehicle's frame
        np.testing.assert_allclose(over_ground[:2], [label.metadata.speed_x, label.metadata.speed_y], atol=0.05)


def test_converted_segments_are_read_by_the_data_set(segment, tmp_path):
    _, made = segment
    assert convert_segments(tmp_path, [f"{NAME}.tfrecord"]) == 1
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "train.txt").write_text(f"{NAME}.tfrecord\n")
    data = Waymo(tmp_path, "train", drop_no_label_zones=False)
    assert len(data) == 3
    sample = data[2]
    expected = np.concatenate([cloud for _, cloud, _ in made[2][1]])
    np.testing.assert_allclose(sample["points"][:, :3], expected[:, :3], atol=2e-4)
    np.testing.assert_allclose(sample["points"][:, 3], np.tanh(expected[:, 3]), rtol=1e-4)
    assert sample["box_labels"].tolist() == [0, 1, 2]  # the unknown object is left out
    assert data.frames.extra["context_name"].tolist() == ["10_20_30"] * 3
    assert data.frames.box_extra["difficulty"][:3].tolist() == [0, 2, 1]


def test_an_interrupted_conversion_goes_on(segment, tmp_path):
    path, made = segment
    write_segment(path.with_name("segment-1_with_camera_labels.tfrecord"), [made[0][0]])
    assert convert_segments(tmp_path) == 2
    whole = tmp_path / PROCESSED / NAME / f"{NAME}.pkl"
    before = (tmp_path / PROCESSED / "segment-1_with_camera_labels" / "0000.npy").stat().st_mtime_ns
    whole.unlink()
    assert convert_segments(tmp_path) == 1
    assert whole.exists()
    after = (tmp_path / PROCESSED / "segment-1_with_camera_labels" / "0000.npy").stat().st_mtime_ns
    assert before == after


def test_damaged_segments_are_named(segment, tmp_path):
    path, _ = segment
    good = path.read_bytes()

    def fails(content, message):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            list(read_segment(path))

    fails(good[:-900], r"tfrecord: truncated in record 2")
    fails(b"x" * 50, r"record 0 does not begin as one of a TFRecord file")
    fails(good[:8] + bytes(4) + good[12:], r"record 0 does not begin")
    place = good.index(b"x\x9c") + 30  # inside a compressed range image
    fails(good[:place] + bytes(8) + good[place + 8 :], r"frame 0 is damaged \(error: Error -3")
    fails(b"", "file is empty")
    path.unlink()
    with pytest.raises(DataError, match=r"raw_data: holds no \.tfrecord file"):
        convert_segments(tmp_path)
    write_segment(path, [])
    with pytest.raises(DataError, match="lacks 1 of 1 segments, the first is segment-7"):
        convert_segments(tmp_path, ["segment-7"])
    with pytest.raises(DataError, match="file is empty"):
        convert_segments(tmp_path)


def test_the_tool_converts_and_indexes(segment, tmp_path, capsys):
    report = prepare("waymo", tmp_path, Request(raw=True))
    text = str(report)
    assert not report.problems, text
    assert "train: ImageSets/train.txt lists what lies in raw_data/training/" in text
    assert "segments: 1 converted" in text
    assert "train frames: 3" in text
    again = str(prepare("waymo", tmp_path, Request(raw=True)))
    assert "segments: 0 converted" in again
    assert "made before" in again
