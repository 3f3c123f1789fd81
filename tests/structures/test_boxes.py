import math

import numpy as np
import pytest
import torch

from mae3d.structures import box_conventions as conventions
from mae3d.structures.boxes import box_corners, flip_boxes, scale_boxes, transform_boxes, wrap_angle


def random_boxes(count: int = 40, columns: int = 9) -> torch.Tensor:
    g = torch.Generator().manual_seed(0)
    boxes = torch.randn(count, columns, generator=g, dtype=torch.float64) * 10
    boxes[:, 3:6] = boxes[:, 3:6].abs() + 0.1
    boxes[:, 6] = wrap_angle(boxes[:, 6])
    return boxes


def pose(yaw: float, x: float, y: float, z: float) -> torch.Tensor:
    c, s = math.cos(yaw), math.sin(yaw)
    return torch.tensor([[c, -s, 0, x], [s, c, 0, y], [0, 0, 1, z], [0, 0, 0, 1]], dtype=torch.float64)


def test_corners_of_a_turned_box():
    box = torch.tensor([[1.0, 2, 3, 4, 2, 6, math.pi / 2]])
    corners = box_corners(box)[0]
    torch.testing.assert_close(corners[0], torch.tensor([0.0, 4, 0]), atol=1e-5, rtol=0)  # front left, below
    torch.testing.assert_close(corners[5], torch.tensor([2.0, 4, 6]), atol=1e-5, rtol=0)  # front right, above


def test_transform_moves_corners_like_points_and_comes_back():
    boxes, matrix = random_boxes(), pose(0.7, 3, -2, 1)
    moved = transform_boxes(boxes, matrix)
    expected = box_corners(boxes) @ matrix[:3, :3].T + matrix[:3, 3]
    torch.testing.assert_close(box_corners(moved), expected)
    torch.testing.assert_close(moved[:, 7:9].norm(dim=1), boxes[:, 7:9].norm(dim=1))
    torch.testing.assert_close(transform_boxes(moved, torch.linalg.inv(matrix)), boxes)


@pytest.mark.parametrize("axis", ["x", "y"])
def test_flip_mirrors_the_set_of_corners_and_is_its_own_inverse(axis):
    boxes = random_boxes()
    flipped = flip_boxes(boxes, axis)
    mirror = torch.ones(3, dtype=torch.float64)
    mirror[{"x": 0, "y": 1}[axis]] = -1
    key = lambda corners: corners[:, np.lexsort(corners[0].T.numpy())] if len(corners) == 1 else corners  # noqa: E731
    for before, after in zip(box_corners(boxes) * mirror, box_corners(flipped)):
        torch.testing.assert_close(key(before[None]), key(after[None]))
    torch.testing.assert_close(flip_boxes(flipped, axis), boxes)
    torch.testing.assert_close(flipped[:, 7:9], boxes[:, 7:9] * mirror[:2])


def test_scale():
    boxes = random_boxes()
    torch.testing.assert_close(box_corners(scale_boxes(boxes, 1.1)), box_corners(boxes) * 1.1)


def test_nuscenes_round_trip_and_quaternions():
    boxes = random_boxes()
    translation, size, rotation = conventions.to_nuscenes(boxes)
    torch.testing.assert_close(size[:, 0], boxes[:, 4])  # width first
    torch.testing.assert_close(conventions.from_nuscenes(translation, size, rotation, boxes[:, 7:9]), boxes)
    matrix = conventions.quaternion_matrix(rotation)
    torch.testing.assert_close(matrix[:, 0, 0], boxes[:, 6].cos())
    torch.testing.assert_close(matrix @ matrix.mT, torch.eye(3, dtype=torch.float64).expand(len(boxes), 3, 3))
    general = torch.nn.functional.normalize(torch.randn(50, 4, dtype=torch.float64), dim=-1)
    scipy = pytest.importorskip("scipy.spatial.transform")
    expected = scipy.Rotation.from_quat(general[:, [1, 2, 3, 0]].numpy()).as_matrix()
    np.testing.assert_allclose(conventions.quaternion_matrix(general).numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(
        conventions.quaternion_yaw(general).numpy(), np.arctan2(expected[:, 1, 0], expected[:, 0, 0]), atol=1e-12
    )


@pytest.mark.parametrize("name", ["mmdet3d", "mmdet3d_legacy"])
def test_mmdet3d_round_trips(name):
    boxes = random_boxes()
    there, back = getattr(conventions, f"to_{name}"), getattr(conventions, f"from_{name}")
    assert not torch.allclose(there(boxes), boxes)
    torch.testing.assert_close(back(there(boxes)), boxes)


def test_kitti_camera_round_trip_and_axes():
    boxes = random_boxes(columns=7)
    camera_from_lidar = torch.eye(4, dtype=torch.float64)
    camera_from_lidar[:3, :3] = torch.tensor([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
    camera_from_lidar[:3, 3] = torch.tensor([0.1, -0.2, 0.3])
    camera = conventions.to_kitti_camera(boxes, camera_from_lidar)
    torch.testing.assert_close(conventions.from_kitti_camera(camera, camera_from_lidar), boxes)
    ahead = torch.tensor([[10.0, 0, 0, 4, 2, 1.5, 0]], dtype=torch.float64)
    (_, y, z, height, width, length, turn) = conventions.to_kitti_camera(ahead, camera_from_lidar)[0].tolist()
    assert (round(z, 3), round(y, 3)) == (10.3, 0.55)  # ahead of the camera; y points down to the bottom face
    assert (height, width, length) == (1.5, 2, 4)
    assert turn == pytest.approx(-math.pi / 2)


def test_real_kitti_label_lies_on_its_points(shared_data):
    folder = shared_data / "lidar" / "kitti_object" / "training"
    calibration = {}
    for line in (folder / "calib" / "000001.txt").read_text().splitlines():
        if ":" in line:
            name, values = line.split(":")
            calibration[name] = np.array(values.split(), dtype=np.float64)
    rectify, camera = np.eye(4), np.eye(4)
    rectify[:3, :3] = calibration["R0_rect"].reshape(3, 3)
    camera[:3] = calibration["Tr_velo_to_cam"].reshape(3, 4)
    camera_from_lidar = torch.from_numpy(rectify @ camera)
    points = torch.from_numpy(np.fromfile(folder / "velodyne" / "000001.bin", dtype=np.float32).reshape(-1, 4)).double()
    rows = [line.split() for line in (folder / "label_2" / "000001.txt").read_text().splitlines()]
    car = next(row for row in rows if row[0] == "Car")
    height, width, length, x, y, z, turn = map(float, car[8:15])
    label = torch.tensor([[x, y, z, height, width, length, turn]], dtype=torch.float64)
    box = conventions.from_kitti_camera(label, camera_from_lidar)[0]
    offset = points[:, :3] - box[:3]
    c, s = box[6].cos(), box[6].sin()
    local = torch.stack((offset[:, 0] * c + offset[:, 1] * s, offset[:, 1] * c - offset[:, 0] * s, offset[:, 2]), -1)
    inside = (local.abs() <= box[3:6] / 2).all(dim=1)
    near = (local.abs() <= box[3:6] / 2 + torch.tensor([1.0, 1.0, 0.0])).all(dim=1)
    assert inside.sum() >= 5
    assert inside.sum() > 0.8 * near.sum()  # hardly a point beside it
