"""A picture and its depth to a coloured cloud (P3P, arXiv 2408.10007, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mae3d.structures.colors import IMAGENET_MEAN, IMAGENET_STD

MEAN, SPREAD = (np.array(values, dtype=np.float32) for values in (IMAGENET_MEAN, IMAGENET_STD))


class Intrinsics(NamedTuple):
    """Pinhole camera, in pixels of the depth image."""

    fx: float
    fy: float
    cx: float
    cy: float


def normalize_colors(image: np.ndarray) -> np.ndarray:
    """Colours [..., 3] of 0 to 255 -> float32, ImageNet's mean 0 and deviation 1."""
    return (image.astype(np.float32) / 255 - MEAN) / SPREAD


def lift_published(image: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Cloud of all pixels, as P3P lifts ImageNet: no camera, the image plane as it is.

    With F = max(H, W, 256): x = column / F, y = the depth / F mirrored about its mean, z = row / F counted from below.
    Depth estimators give larger values to nearer pixels, so y grows away from the viewer.

    Args:
        image: uint8 [H, W, 3].
        depth: float [H, W], in pixels.

    Returns:
        float32 [H * W, 6], x y z r g b; pixels whose depth is not finite are left out.
    """
    height, width = depth.shape
    scale = max(height, width, 256)
    valid = np.isfinite(depth)
    row, column = np.nonzero(valid)
    ahead = depth[valid].astype(np.float64) / scale
    ahead = 2 * ahead.mean() - ahead if len(ahead) else ahead
    xyz = np.stack((column / scale, ahead, (height - 1 - row) / scale), axis=1)
    return np.concatenate((xyz.astype(np.float32), normalize_colors(image[valid])), axis=1)


def lift_pinhole(image: np.ndarray, depth: np.ndarray, camera: Intrinsics) -> np.ndarray:
    """Cloud of a picture with measured depth: x to the right, y ahead, z up, in the unit of the depth.

    Args:
        image: uint8 [H, W, 3].
        depth: float [H, W], distance along the optical axis; 0 and values that are not finite mean no measurement.
        camera: Intrinsics.

    Returns:
        float32 [N, 6], x y z r g b, of the measured pixels.
    """
    valid = np.isfinite(depth) & (depth > 0)
    row, column = np.nonzero(valid)
    ahead = depth[valid].astype(np.float64)
    xyz = np.stack(((column - camera.cx) / camera.fx * ahead, ahead, (camera.cy - row) / camera.fy * ahead), axis=1)
    return np.concatenate((xyz.astype(np.float32), normalize_colors(image[valid])), axis=1)
