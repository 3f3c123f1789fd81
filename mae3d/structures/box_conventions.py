"""Conversions between our boxes and those of data sets and other codebases; each pair is its own inverse.

Ours is ``x, y, z, l, w, h, yaw(, vx, vy)`` (:mod:`mae3d.structures.boxes`).

============  ================================================================================================
nuScenes      translation (centre), size (w, l, h), rotation quaternion (w, x, y, z), in the global frame
Waymo, ONCE,  the same numbers as ours
OpenPCDet
mmdet3d 1.x   x, y, z of the BOTTOM centre, l, w, h, yaw as ours
mmdet3d 0.x   bottom centre, w, l, h, yaw clockwise from -y ("yaw_old = -yaw - pi/2")
KITTI camera  bottom centre in the camera frame (x right, y down, z ahead), h, w, l, rotation_y about +y
============  ================================================================================================
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mae3d.structures.boxes import wrap_angle


def to_nuscenes(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes -> translation [N, 3], size [N, 3] (w, l, h), rotation [N, 4] (w, x, y, z)."""
    half = boxes[:, 6] / 2
    zero = torch.zeros_like(half)
    return boxes[:, :3], boxes[:, [4, 3, 5]], torch.stack((half.cos(), zero, zero, half.sin()), dim=-1)


def from_nuscenes(translation: Tensor, size: Tensor, rotation: Tensor, velocity: Tensor | None = None) -> Tensor:
    """Inverse of :func:`to_nuscenes`; the yaw is that of the turned x axis, as the devkit defines it."""
    boxes = torch.cat((translation, size[:, [1, 0, 2]], quaternion_yaw(rotation)[:, None]), dim=-1)
    return boxes if velocity is None else torch.cat((boxes, velocity), dim=-1)


def quaternion_yaw(rotation: Tensor) -> Tensor:
    """Yaw [...] of quaternions [..., 4] (w, x, y, z), any length."""
    w, x, y, z = torch.nn.functional.normalize(rotation, dim=-1).unbind(-1)
    return torch.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def quaternion_matrix(rotation: Tensor) -> Tensor:
    """Rotation matrices [..., 3, 3] of quaternions [..., 4] (w, x, y, z), any length but 0, which gives NaN."""
    w, x, y, z = (rotation / rotation.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, dim=-1).reshape(*rotation.shape[:-1], 3, 3)


def to_mmdet3d(boxes: Tensor) -> Tensor:
    """Boxes -> mmdet3d 1.x LiDARInstance3DBoxes: the bottom centre instead of the centre."""
    moved = boxes.clone()
    moved[:, 2] = boxes[:, 2] - boxes[:, 5] / 2
    return moved


def from_mmdet3d(boxes: Tensor) -> Tensor:
    """Inverse of :func:`to_mmdet3d`."""
    moved = boxes.clone()
    moved[:, 2] = boxes[:, 2] + boxes[:, 5] / 2
    return moved


def to_mmdet3d_legacy(boxes: Tensor) -> Tensor:
    """Boxes -> mmdet3d before 1.0: bottom centre, w l h, yaw turned and mirrored."""
    moved = to_mmdet3d(boxes)
    moved[:, 3:5] = boxes[:, [4, 3]]
    moved[:, 6] = wrap_angle(-boxes[:, 6] - math.pi / 2)
    return moved


def from_mmdet3d_legacy(boxes: Tensor) -> Tensor:
    """Inverse of :func:`to_mmdet3d_legacy`."""
    moved = from_mmdet3d(boxes)
    moved[:, 3:5] = boxes[:, [4, 3]]
    moved[:, 6] = wrap_angle(-boxes[:, 6] - math.pi / 2)
    return moved


def to_kitti_camera(boxes: Tensor, camera_from_lidar: Tensor) -> Tensor:
    """Boxes [N, 7] in the lidar frame -> [N, 7]: x y z (bottom centre, rectified camera frame), h, w, l, rotation_y."""
    matrix = camera_from_lidar.to(boxes)
    bottom = boxes[:, :3].clone()
    bottom[:, 2] -= boxes[:, 5] / 2
    centre = bottom @ matrix[:3, :3].T + matrix[:3, 3]
    turn = wrap_angle(-boxes[:, 6] - math.pi / 2)
    return torch.cat((centre, boxes[:, [5, 4, 3]], turn[:, None]), dim=-1)


def from_kitti_camera(boxes: Tensor, camera_from_lidar: Tensor) -> Tensor:
    """Inverse of :func:`to_kitti_camera`."""
    matrix = camera_from_lidar.to(boxes)
    bottom = (boxes[:, :3] - matrix[:3, 3]) @ torch.linalg.inv(matrix[:3, :3]).T
    yaw = wrap_angle(-boxes[:, 6] - math.pi / 2)
    centre = bottom.clone()
    centre[:, 2] += boxes[:, 3] / 2
    return torch.cat((centre, boxes[:, [5, 4, 3]], yaw[:, None]), dim=-1)
