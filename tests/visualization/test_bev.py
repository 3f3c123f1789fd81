"""Pictures of scenes from above: orientation, cells, what is drawn where."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae3d.structures import SceneReconstruction, VoxelGrid, VoxelMask, Voxels
from mae3d.visualization.bev import draw_boxes, draw_cells, draw_points, scene_axes
from mae3d.visualization.scenes import draw_detections, draw_reconstruction, points_of

GRID = VoxelGrid((-8, -8, -2, 8, 8, 2), (1, 1, 2))


def picture(draw) -> np.ndarray:
    """RGB [160, 160, 3] of the whole range: row 0 is far ahead, column 0 far left."""
    figure = Figure(figsize=(1.6, 1.6), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    scene_axes(axes, GRID.point_range)
    axes.set_axis_off()
    draw(axes)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def inked(image: np.ndarray) -> tuple[float, float, float, float]:
    """First and last row and column that are not white."""
    rows, columns = np.nonzero((image < 250).any(axis=-1))
    return rows.min(), rows.max(), columns.min(), columns.max()


def test_ahead_is_up_and_left_is_left():
    image = picture(lambda axes: draw_points(axes, torch.tensor([[6.0, 4.0, 0.0]]), "black", size=4))
    top, bottom, left, right = inked(image)
    assert abs((top + bottom) / 2 - 20) < 2
    assert abs((left + right) / 2 - 40) < 2


def test_cells_cover_their_place():
    image = picture(lambda axes: draw_cells(axes, GRID, torch.tensor([[0, 0, 3, 14]]), (0, 0, 0)))
    # Cell (x 14, y 3): x in 6..7 m, y in -5..-4 m.
    assert np.allclose(inked(image), (10, 19, 120, 129), atol=1)


def test_cells_above_each_other_show_the_larger_value():
    cells = torch.tensor([[0, 0, 3, 14], [0, 1, 3, 14], [0, 0, 9, 9]])
    image = picture(lambda axes: draw_cells(axes, GRID, cells, torch.tensor([0.1, 1.0, 0.0])))
    assert image[15, 125].max() < 60
    assert image[64, 64].min() > 250


def test_boxes_have_their_outline_and_front():
    box = torch.tensor([[0.0, 0, 0, 8, 4, 2, 0]])
    image = picture(lambda axes: draw_boxes(axes, box, "black"))
    assert np.allclose(inked(image), (40, 120, 60, 100), atol=2)
    ahead, behind = image[45:75, 79:82], image[85:115, 79:82]
    assert ahead.min() < 128 < behind.min()


def scene() -> SceneReconstruction:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(200, 3, generator=generator) * torch.tensor([20.0, 20, 5]) - torch.tensor([10.0, 10, 2.5])
    offsets = torch.tensor([0, 120, 200])
    voxels = Voxels.from_points(points, offsets, GRID)
    hidden = torch.arange(len(voxels)) % 3 > 0
    empty = torch.tensor([[0, 0, 0, 0], [1, 1, 15, 15]])
    mask = VoxelMask(*(rows.nonzero().squeeze(1) for rows in (~hidden, hidden)), empty)
    predicted = voxels.centers[mask.masked].unsqueeze(1).expand(-1, 4, -1)
    return SceneReconstruction(points, offsets, voxels, mask, predicted, torch.rand(len(voxels) + 2))


def test_points_of_cells_are_the_points_inside():
    whole = scene().scene(0)
    visible = points_of(whole, whole.voxels.coordinates[whole.mask.visible])
    index = Voxels.from_points(whole.points, whole.offsets, GRID).point_to_voxel
    assert torch.equal(visible, whole.points[torch.isin(index, whole.mask.visible)])


def test_pictures_with_and_without_predictions_differ():
    full = scene()
    bare = SceneReconstruction(full.points, full.offsets, full.voxels, full.mask, None, full.occupancy)
    pictures = []
    for one in (full, bare):
        figure = draw_reconstruction(one, boxes=torch.zeros(0, 9), title="frame", index=1)
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba()).astype(int))
    width = pictures[0].shape[1]
    assert pictures[0].std() > 10
    changed = (pictures[0] != pictures[1]).any(axis=(0, 2))
    assert changed[2 * width // 3 :].any()  # the third picture alone shows what was predicted
    assert not changed[: width // 2].any()


def test_detections_are_drawn_over_the_truth_of_their_scene():
    truth = torch.tensor([[2.0, 3.0, 0.0, 4.0, 2.0, 2.0, 0.0]])
    found = {"boxes": torch.tensor([[-4.0, -4.0, 0.0, 4.0, 2.0, 2.0, 0.0]]).repeat(2, 1)}
    pictures = []
    for scores in ((0.9, 0.0), (0.1, 0.0)):
        own = {**found, "scores": torch.tensor(scores)}
        figure = draw_detections(torch.zeros(0, 4), truth, {"one": own}, point_range=GRID.point_range)
        figure.canvas.draw()
        pictures.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int))
    assert (
        "1 detections, 1 objects"
        in draw_detections(
            torch.zeros(0, 4),
            truth,
            {"one": {**found, "scores": torch.tensor([0.9, 0.0])}},
            point_range=GRID.point_range,
        )
        .axes[0]
        .get_title()
    )
    orange = [int(((p[..., 0] - p[..., 2] > 100) & (p[..., 0] - p[..., 1] > 60)).sum()) for p in pictures]
    green = [int((p[..., 1] - p[..., 0] > 60).sum()) for p in pictures]
    assert orange[0] > 50
    assert orange[1] == 0
    assert min(green) > 50
