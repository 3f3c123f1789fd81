"""Figures of driving scenes: input, what was hidden, reconstruction; ground truth and detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from mae3d.structures import SceneReconstruction
from mae3d.visualization.bev import BirdsEye
from mae3d.visualization.perspective import Perspective
from mae3d.visualization.points import GREY, PREDICTED, VISIBLE

HIDDEN_CELL = (0.95, 0.80, 0.66)
EMPTY_CELL = (0.62, 0.80, 0.56)
View = BirdsEye | Perspective
BIRDS_EYE = BirdsEye()
WEAK, SURE = (0.99, 0.80, 0.62), (0.75, 0.25, 0.0)
"""Colours of detections with a score of 0 and 1."""


def _panels(count: int, point_range: Sequence[float], view: View) -> tuple[Figure, list[Axes]]:
    width, height = view.panel(point_range)
    figure = Figure(figsize=(count * width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def draw_reconstruction(
    scene: SceneReconstruction,
    *,
    boxes: Tensor | None = None,
    title: str = "",
    index: int = 0,
    view: View = BIRDS_EYE,
) -> Figure:
    """Three pictures side by side: the input with its boxes, what was visible and hidden, the reconstruction.

    Of a method that looks at two frames, the earlier one is in the second picture, in grey.

    Args:
        scene: What a model's ``reconstruct`` gave.
        boxes: [M, 7 or 9] of this scene.
        title: Above the first picture.
        index: Which scene of the batch.
        view: From above, or in perspective.
    """
    scene = scene.scene(index)
    grid, mask = scene.voxels.grid, scene.mask
    visible, hidden = scene.voxels.coordinates[mask.visible], scene.voxels.coordinates[mask.masked]
    seen = points_of(scene, visible)
    figure, (whole, masked, rebuilt) = _panels(3, grid.point_range, view)

    view.scene_axes(whole, grid.point_range, title or "input")
    view.draw_points(whole, scene.points)
    if boxes is not None:
        view.draw_boxes(whole, boxes)

    share = len(hidden) / max(1, len(scene.voxels))
    view.scene_axes(masked, grid.point_range, f"{len(visible)} voxels visible, {len(hidden)} hidden ({share:.0%})")
    view.draw_cells(masked, grid, hidden, HIDDEN_CELL)
    if mask.empty is not None:
        view.draw_cells(masked, grid, mask.empty, EMPTY_CELL)
    if scene.previous_points is not None:
        view.draw_points(masked, scene.previous_points, GREY)
    view.draw_points(masked, seen, VISIBLE)

    view.scene_axes(rebuilt, grid.point_range, _reconstruction_title(scene))
    if scene.predicted is None and scene.occupancy is not None:
        asked = scene.voxels.coordinates if mask.empty is None else torch.cat((scene.voxels.coordinates, mask.empty))
        view.draw_cells(rebuilt, grid, asked, scene.occupancy)
    view.draw_points(rebuilt, seen, GREY)
    if scene.predicted is not None:
        view.draw_points(rebuilt, scene.predicted.flatten(0, 1), PREDICTED)
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


def draw_detections(
    points: Tensor,
    truth: Tensor,
    found: Mapping[str, Mapping[str, Tensor]],
    *,
    point_range: Sequence[float],
    lowest_score: float = 0.2,
    view: View = BIRDS_EYE,
) -> Figure:
    """One picture per detector: points, ground truth in green, detections from light (unsure) to dark (sure).

    Args:
        points: [N, 3 or more].
        truth: [M, 7 or 9].
        found: Title -> ``boxes`` [D, 7 or 9] and ``scores`` [D].
        point_range: What is shown: x y z from, x y z to, metres.
        lowest_score: Detections below are left out.
        view: From above, or in perspective.
    """
    figure, panels = _panels(len(found), point_range, view)
    for axes, (title, own) in zip(panels, found.items()):
        kept = own["scores"] >= lowest_score
        view.scene_axes(axes, point_range, f"{title}: {int(kept.sum())} detections, {len(truth)} objects")
        view.draw_points(axes, points, GREY)
        view.draw_boxes(axes, truth, width=1.6)
        view.draw_boxes(axes, own["boxes"][kept], score_colors(own["scores"][kept]))
    return figure


def score_colors(scores: Tensor) -> Tensor:
    """Red, green and blue [D, 3] of detections with ``scores`` [D] in [0, 1]."""
    share = scores.detach().cpu().float()[:, None]
    return share * torch.tensor(SURE) + (1 - share) * torch.tensor(WEAK)
