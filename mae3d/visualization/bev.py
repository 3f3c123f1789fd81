"""Driving scenes from above: points, hidden cells, reconstructions, boxes. Ahead is up, left is left; metres."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from torch import Tensor

from mae3d.structures import SceneReconstruction, VoxelGrid
from mae3d.structures.boxes import box_corners_bev
from mae3d.visualization.points import GREY, PALETTE, PREDICTED, VISIBLE

HIDDEN_CELL = (0.95, 0.80, 0.66)
VISIBLE_CELL = (0.80, 0.88, 0.95)
EMPTY_CELL = (0.62, 0.80, 0.56)
TRUTH = (0.10, 0.55, 0.20)
Color = tuple[float, float, float]


def scene_axes(axes: Axes, point_range: Sequence[float], title: str = "") -> None:
    """Prepare axes to show x (ahead) upwards and y (left) to the left, within a range x y z from, x y z to."""
    axes.set_xlim(point_range[4], point_range[1])
    axes.set_ylim(point_range[0], point_range[3])
    axes.set_aspect("equal")
    axes.set_xlabel("y, m")
    axes.set_ylabel("x, m")
    axes.set_title(title if len(title) <= 60 else f"{title[:28]}...{title[-28:]}")


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
    axes: Axes, boxes: Tensor, color: Color | str = TRUTH, labels: Tensor | None = None, width: float = 0.9
) -> None:
    """Outlines of boxes [M, 7 or 9] with a line from the centre to the front; ``labels`` choose colours instead."""
    boxes = boxes.detach().cpu().float()
    corners = box_corners_bev(boxes)[..., [1, 0]].numpy()  # [M, 4, 2], (y, x) as drawn
    colors = [color] * len(boxes) if labels is None else [PALETTE[int(label) % len(PALETTE)] for label in labels]
    axes.add_collection(PolyCollection(list(corners), facecolors="none", edgecolors=colors, linewidths=width))
    fronts = corners[:, :2].mean(axis=1)
    for centre, front, own in zip(boxes[:, [1, 0]].numpy(), fronts, colors):
        axes.plot(*zip(centre, front), color=own, linewidth=width)


def draw_reconstruction(
    scene: SceneReconstruction, *, boxes: Tensor | None = None, title: str = "", index: int = 0
) -> Figure:
    """Three pictures side by side: the input with its boxes, what was visible and hidden, the reconstruction.

    Args:
        scene: What a model's ``reconstruct`` gave.
        boxes: [M, 7 or 9] of this scene.
        title: Above the first picture.
        index: Which scene of the batch.
    """
    scene = scene.scene(index)
    grid, mask = scene.voxels.grid, scene.mask
    visible, hidden = scene.voxels.coordinates[mask.visible], scene.voxels.coordinates[mask.masked]
    seen = points_of(scene, visible)
    figure = Figure(figsize=(18, 6.4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    whole, masked, rebuilt = figure.subplots(1, 3)

    scene_axes(whole, grid.point_range, title or "input")
    draw_points(whole, scene.points)
    if boxes is not None:
        draw_boxes(whole, boxes)

    share = len(hidden) / max(1, len(scene.voxels))
    scene_axes(masked, grid.point_range, f"{len(visible)} voxels visible, {len(hidden)} hidden ({share:.0%})")
    draw_cells(masked, grid, hidden, HIDDEN_CELL)
    if mask.empty is not None:
        draw_cells(masked, grid, mask.empty, EMPTY_CELL)
    draw_points(masked, seen, VISIBLE)

    scene_axes(rebuilt, grid.point_range, _reconstruction_title(scene))
    if scene.predicted is None and scene.occupancy is not None:
        asked = scene.voxels.coordinates if mask.empty is None else torch.cat((scene.voxels.coordinates, mask.empty))
        draw_cells(rebuilt, grid, asked, scene.occupancy)
    draw_points(rebuilt, seen, GREY)
    if scene.predicted is not None:
        draw_points(rebuilt, scene.predicted.flatten(0, 1), PREDICTED)
    return figure


def points_of(scene: SceneReconstruction, coordinates: Tensor) -> Tensor:
    """The points of ``scene`` (a batch of one) inside some of its cells [K, 4]."""
    grid = scene.voxels.grid
    low = scene.points.new_tensor(grid.point_range[:3])
    cells = ((scene.points[:, :3] - low) / scene.points.new_tensor(grid.voxel_size)).floor().long()
    inside = ((cells >= 0) & (cells < cells.new_tensor(grid.grid_size))).all(dim=1)
    own = torch.cat((cells.new_zeros(len(cells), 1), cells.flip(1)), dim=1)
    return scene.points[inside & torch.isin(grid.keys(own), grid.keys(coordinates))]


def _reconstruction_title(scene: SceneReconstruction) -> str:
    if scene.occupancy is None:
        return "reconstruction"
    own, asked = scene.occupancy[: len(scene.voxels)], scene.occupancy[len(scene.voxels) :]
    text = f"taken for occupied: {(own > 0.5).float().mean():.0%} of voxels"
    return text + (f", {(asked > 0.5).float().mean():.0%} of empty" if len(asked) else "")


def save_reconstruction(scene: SceneReconstruction, path: str | Path, **options) -> Path:
    """Save :func:`draw_reconstruction` as PNG; returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_reconstruction(scene, **options).savefig(path)
    return path
