"""What a front camera would see of simulated traffic: 2D boxes, truncation and occlusion as annotators note them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from mae3d.structures.boxes import box_corners

_NEAREST = 0.1  # metres in front of the camera
_CELL = 4  # pixels of the raster on which occlusion is counted


class ImageBoxes(NamedTuple):
    """Boxes in the image.

    Attributes:
        box_2d: float64 [N, 4], left, top, right, bottom, pixels, inside the image.
        truncation: float64 [N], share of the full 2D box that lies outside of the image.
        visible: float64 [N], share of the 2D box that no nearer 2D box covers.
        seen: bool [N]: in front of the camera, and at least partly in the image.
    """

    box_2d: np.ndarray
    truncation: np.ndarray
    visible: np.ndarray
    seen: np.ndarray


def project_boxes(boxes: np.ndarray, image_from_lidar: np.ndarray, size: tuple[int, int]) -> ImageBoxes:
    """Project boxes [N, 7+] of the lidar frame into an image of ``size`` (height, width).

    Args:
        boxes: Gravity centre, l w h, yaw.
        image_from_lidar: float64 [3, 4].
        size: Height and width, pixels.
    """
    corners = box_corners(torch.from_numpy(boxes[:, :7])).numpy()  # [N, 8, 3]
    pixels = corners @ image_from_lidar[:, :3].T + image_from_lidar[:, 3]
    depth = pixels[..., 2].clip(_NEAREST)
    xy = pixels[..., :2] / depth[..., None]
    full = np.concatenate((xy.min(axis=1), xy.max(axis=1)), axis=1)
    limits = np.array([size[1] - 1, size[0] - 1] * 2)
    inside = full.clip(0, limits)
    area = np.prod(inside[:, 2:] - inside[:, :2], axis=1)
    whole = np.prod(full[:, 2:] - full[:, :2], axis=1)
    centre_depth = boxes[:, :3] @ image_from_lidar[2, :3] + image_from_lidar[2, 3]
    seen = (centre_depth > _NEAREST) & (area > 0)
    return ImageBoxes(
        box_2d=inside,
        truncation=np.where(seen, 1 - area / np.maximum(whole, 1e-9), 1.0),
        visible=_visible_share(inside, centre_depth, seen, size),
        seen=seen,
    )


def _visible_share(box_2d: np.ndarray, depth: np.ndarray, seen: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Paint from far to near on a coarse raster and count what is left of each box."""
    raster = np.full((size[0] // _CELL + 1, size[1] // _CELL + 1), -1)
    painted = np.ones(len(box_2d))
    for number in np.flatnonzero(seen)[np.argsort(-depth[seen], kind="stable")]:
        left, top, right, bottom = (box_2d[number] / _CELL).astype(int)
        raster[top : bottom + 1, left : right + 1] = number
        painted[number] = (bottom + 1 - top) * (right + 1 - left)
    left_over = np.bincount(raster[raster >= 0], minlength=len(box_2d))
    return np.where(seen, left_over / painted, 0.0)
