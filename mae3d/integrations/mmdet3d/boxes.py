"""Our boxes as mmdet3d's box objects and back."""

from __future__ import annotations

import torch
from mmdet3d.structures import LiDARInstance3DBoxes
from torch import Tensor

from mae3d.datasets.lidar.nuscenes_reader import FILE_FROM_OURS
from mae3d.structures.box_conventions import from_mmdet3d, to_mmdet3d
from mae3d.structures.boxes import transform_boxes

_FILE_FROM_OURS = torch.from_numpy(FILE_FROM_OURS)


def to_lidar_boxes(boxes: Tensor, *, turned: bool = False) -> LiDARInstance3DBoxes:
    """Boxes [N, 7 or 9], ``x y z l w h yaw(, vx, vy)``, centre of gravity, metres and radians -> mmdet3d's.

    Args:
        boxes: In our axes, x ahead.
        turned: mmdet3d's data set is nuScenes, whose files have x right and y ahead.
    """
    theirs = transform_boxes(boxes, _FILE_FROM_OURS) if turned else boxes
    return LiDARInstance3DBoxes(to_mmdet3d(theirs), box_dim=boxes.shape[1])


def from_lidar_boxes(boxes: LiDARInstance3DBoxes, *, turned: bool = False) -> Tensor:
    """Inverse of :func:`to_lidar_boxes`: for example ``pred_instances_3d.bboxes_3d`` -> [N, 7 or 9]."""
    ours = from_mmdet3d(boxes.tensor)
    return transform_boxes(ours, _FILE_FROM_OURS.T) if turned else ours
