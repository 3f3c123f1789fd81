"""Driving scenes as a camera behind and above the vehicle sees them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from torch import Tensor

from mae3d.structures import VoxelGrid
from mae3d.structures.boxes import box_corners
from mae3d.visualization.bev import TRUTH, Color, box_colors

NEAR = 0.5
"""What is closer to the camera than this many metres is not drawn."""

EDGES = [(0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
"""Edges of a box between its corners, bottom 0 to 3, top 4 to 7."""


@dataclass(frozen=True)
class Perspective:
    """A pinhole camera that draws into matplotlib axes; x ahead, y left, z up, metres.

    Attributes:
        eye: Where the camera is.
        target: What is in the middle of the picture.
        field_of_view: Width of the picture, degrees.
        aspect: Width over height.
        ground: Height at which cells are drawn.
    """

    eye: tuple[float, float, float] = (-24.0, 0.0, 15.0)
    target: tuple[float, float, float] = (8.0, 0.0, -2.0)
    field_of_view: float = 70.0
    aspect: float = 1.5
    ground: float = -1.8

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [N, 3] -> place in the picture [N, 2], right and up within [-1, 1] x [-1 / aspect, 1 / aspect], and
        distance along the line of sight [N]; places of points nearer than ``NEAR`` mean nothing.
        """
        ahead = np.subtract(self.target, self.eye)
        ahead = ahead / np.linalg.norm(ahead)
        right = np.cross(ahead, (0.0, 0.0, 1.0))
        right = right / np.linalg.norm(right)
        offset = np.asarray(points, dtype=np.float64) - self.eye
        depth = offset @ ahead
        place = np.stack((offset @ right, offset @ np.cross(right, ahead)), axis=-1)
        scale = math.tan(math.radians(self.field_of_view) / 2) * np.maximum(depth, NEAR)
        return place / scale[:, None], depth

    def panel(self, point_range: Sequence[float]) -> tuple[float, float]:
        """Width and height in inches of a picture, whatever the range."""
        return 7.0, 7.0 / self.aspect + 0.3

    def scene_axes(self, axes: Axes, point_range: Sequence[float], title: str = "") -> None:
        """Prepare axes to show the picture of the camera."""
        axes.set_xlim(-1, 1)
        axes.set_ylim(-1 / self.aspect, 1 / self.aspect)
        axes.set_aspect("equal")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_title(title, fontsize=9)

    def draw_points(
        self, axes: Axes, points: Tensor, color: Color | str | None = None, size: float = 2.0, label: str | None = None
    ) -> None:
        """Points [N, 3 or more], nearer ones larger; without a colour by height (clipped at -3 and 3 m)."""
        rows = points.detach().cpu().float().numpy()[:, :3]
        place, depth = self.project(rows)
        seen = (depth > NEAR) & (np.abs(place) <= (1, 1 / self.aspect)).all(axis=1)
        order = np.flatnonzero(seen)[np.argsort(-depth[seen], kind="stable")]
        shade = np.clip(rows[order, 2], -3, 3) if color is None else [color]
        options = {"cmap": "viridis", "vmin": -3, "vmax": 3} if color is None else {}
        sizes = size * np.clip(25 / depth[order], 0.2, 2.0)
        axes.scatter(*place[order].T, s=sizes, c=shade, linewidths=0, rasterized=True, label=label, **options)

    def draw_cells(self, axes: Axes, grid: VoxelGrid, coordinates: Tensor, color: Color | Tensor) -> None:
        """Footprints on the ground of cells [V, 4] (cloud, z, y, x), in one colour or by a value in [0, 1] each."""
        cells = coordinates.detach().cpu().numpy()
        low, size = np.array(grid.point_range[:2]), np.array(grid.voxel_size[:2])
        corner = low + cells[:, [3, 2]] * size  # [V, 2], x y
        square = corner[:, None] + np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * size
        flat = np.concatenate((square, np.full((*square.shape[:2], 1), self.ground)), axis=-1)
        place, depth = self.project(flat.reshape(-1, 3))
        seen = (depth.reshape(-1, 4) > NEAR).all(axis=1)
        if isinstance(color, Tensor):
            shades = np.repeat(1 - 0.85 * color.detach().cpu().float().numpy()[seen, None], 3, axis=1)
        else:
            shades = [color]
        axes.add_collection(PolyCollection(list(place.reshape(-1, 4, 2)[seen]), facecolors=shades, zorder=0))

    def draw_boxes(
        self,
        axes: Axes,
        boxes: Tensor,
        color: Color | str | Tensor = TRUTH,
        labels: Tensor | None = None,
        width: float = 0.9,
    ) -> None:
        """Edges of boxes [M, 7 or 9] and a cross over the front; colours as in the view from above."""
        boxes = boxes.detach().cpu().double()
        place, depth = self.project(box_corners(boxes).reshape(-1, 3).numpy())
        place, seen = place.reshape(-1, 8, 2), (depth.reshape(-1, 8) > NEAR).all(axis=1)
        colors = box_colors(len(boxes), color, labels)
        lines, shades = [], []
        for number in np.flatnonzero(seen):
            edges = [*EDGES, (0, 5), (1, 4)]
            lines += [place[number, list(edge)] for edge in edges]
            shades += [colors[number]] * len(edges)
        axes.add_collection(LineCollection(lines, colors=shades, linewidths=width))
