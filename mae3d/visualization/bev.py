"""Driving scenes from above: points, cells, boxes. Ahead is up, left is left; metres."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from torch import Tensor

from mae3d.structures import VoxelGrid
from mae3d.structures.boxes import box_corners_bev
from mae3d.visualization.points import PALETTE

TRUTH = (0.10, 0.55, 0.20)
Color = tuple[float, float, float]


def scene_axes(axes: Axes, point_range: Sequence[float], title: str = "") -> None:
    """Prepare axes to show x (ahead) upwards and y (left) to the left, within a range x y z from, x y z to."""
    axes.set_xlim(point_range[4], point_range[1])
    axes.set_ylim(point_range[0], point_range[3])
    axes.set_aspect("equal")
    axes.set_xlabel("y, m")
    axes.set_ylabel("x, m")
    axes.set_title(title if len(title) <= 60 else f"{title[:28]}...{title[-28:]}", fontsize=9)


def draw_points(
    axes: Axes, points: Tensor, color: Color | str | None = None, size: float = 0.35, label: str | None = None
) -> None:
    """Points [N, 3 or more] in one colour, or coloured by height (clipped at -3 and 3 m) without one."""
    rows = points.detach().cpu().float().numpy()
    by_height = color is None
    shade = np.clip(rows[:, 2], -3, 3) if by_height else [color]
    options = {"cmap": "viridis", "vmin": -3, "vmax": 3} if by_height else {}
    axes.scatter(rows[:, 1], rows[:, 0], s=size, c=shade, linewidths=0, rasterized=True, label=label, **options)


def draw_cells(axes: Axes, grid: VoxelGrid, coordinates: Tensor, color: Color | Tensor) -> None:
    """Fill the columns of cells ``coordinates`` [V, 4] (cloud, z, y, x) with one colour, or one value in [0, 1] each.

    Values are drawn from white (0) to dark (1); where cells lie above each other the largest counts.
    """
    nx, ny, _ = grid.grid_size
    rows = coordinates.detach().cpu()
    image = np.ones((nx, ny, 4), dtype=np.float32)
    image[..., 3] = 0
    if isinstance(color, Tensor):
        height = torch.zeros(nx * ny).scatter_reduce(
            0, rows[:, 3] * ny + rows[:, 2], color.detach().cpu().float(), "amax"
        )
        image[rows[:, 3], rows[:, 2], 3] = 1
        image[..., :3] = 1 - 0.85 * height.reshape(nx, ny, 1).numpy()
    else:
        image[rows[:, 3], rows[:, 2]] = (*color, 1)
    low, high = grid.point_range[:2], grid.point_range[3:5]
    axes.imshow(image, origin="lower", extent=(low[1], high[1], low[0], high[0]), interpolation="nearest", zorder=0)


def draw_boxes(
    axes: Axes, boxes: Tensor, color: Color | str | Tensor = TRUTH, labels: Tensor | None = None, width: float = 0.9
) -> None:
    """Outlines of boxes [M, 7 or 9] with a line from the centre to the front.

    ``color`` is one colour or RGB [M, 3]; ``labels`` choose colours instead.
    """
    boxes = boxes.detach().cpu().float()
    corners = box_corners_bev(boxes)[..., [1, 0]].numpy()  # [M, 4, 2], (y, x) as drawn
    colors = box_colors(len(boxes), color, labels)
    axes.add_collection(PolyCollection(list(corners), facecolors="none", edgecolors=colors, linewidths=width))
    fronts = corners[:, :2].mean(axis=1)
    for centre, front, own in zip(boxes[:, [1, 0]].numpy(), fronts, colors):
        axes.plot(*zip(centre, front), color=own, linewidth=width)


def box_colors(count: int, color: Color | str | Tensor, labels: Tensor | None) -> list:
    """One colour per box, see :func:`draw_boxes`."""
    if labels is not None:
        return [PALETTE[int(label) % len(PALETTE)] for label in labels]
    return color.tolist() if isinstance(color, Tensor) else [color] * count


class BirdsEye:
    """The functions of this file as one way to look at a scene; :class:`Perspective` is another."""

    scene_axes = staticmethod(scene_axes)
    draw_points = staticmethod(draw_points)
    draw_cells = staticmethod(draw_cells)
    draw_boxes = staticmethod(draw_boxes)

    def panel(self, point_range: Sequence[float]) -> tuple[float, float]:
        """Width and height in inches of a picture of a range."""
        ahead, left = point_range[3] - point_range[0], point_range[4] - point_range[1]
        height = 6.4 if ahead <= left else 9.0
        return 0.4 + (height - 0.8) * left / ahead, height
