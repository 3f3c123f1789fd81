"""The camera behind the vehicle: where things appear."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mae3d.structures import VoxelGrid
from mae3d.visualization.perspective import NEAR, Perspective

CAMERA = Perspective(eye=(-20.0, 0.0, 10.0), target=(10.0, 0.0, -2.0), field_of_view=60.0, aspect=1.5)


def picture(draw) -> np.ndarray:
    """RGB [200, 300, 3]."""
    figure = Figure(figsize=(3, 2), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    CAMERA.scene_axes(axes, (-50, -50, -5, 50, 50, 3))
    axes.set_axis_off()
    draw(axes)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def ink(image: np.ndarray) -> np.ndarray:
    """Rows and columns that are not white, [N, 2]."""
    return np.argwhere((image < 250).any(axis=-1))


def test_projection_is_that_of_a_look_at_matrix():
    points = np.random.default_rng(0).uniform((0, -20, -2), (60, 20, 4), (50, 3))
    forward = np.array([30.0, 0, -12.0])
    tilt = np.arctan2(-forward[2], forward[0])
    # Turn the world so that the line of sight is x, then divide by x.
    turn = np.array([[np.cos(tilt), 0, -np.sin(tilt)], [0, 1, 0], [np.sin(tilt), 0, np.cos(tilt)]])
    seen = (points - (-20, 0, 10)) @ turn.T
    expected = np.stack((-seen[:, 1], seen[:, 2]), axis=1) / seen[:, :1] / np.tan(np.radians(30))
    place, depth = CAMERA.project(points)
    np.testing.assert_allclose(depth, seen[:, 0], rtol=1e-9)
    np.testing.assert_allclose(place, expected, rtol=1e-9, atol=1e-12)


def test_left_is_left_and_far_is_up():
    rows = [
        ink(picture(lambda axes, p=p: CAMERA.draw_points(axes, torch.tensor([p]), "black", size=30))).mean(axis=0)
        for p in ([10.0, 0, -2], [10.0, 8, -2], [40.0, 0, -2])
    ]
    centre, left, far = rows
    assert centre == pytest.approx((99.5, 149.5), abs=2)
    assert left[1] < centre[1] - 20
    assert far[0] < centre[0] - 20


def test_what_is_behind_the_camera_is_not_drawn():
    behind = torch.tensor([[-30.0, 0.0, 12.0]])
    box = torch.tensor([[-21.0 + NEAR, 0.0, 10.0, 4.0, 2.0, 2.0, 0.0]])
    assert not len(ink(picture(lambda axes: CAMERA.draw_points(axes, behind, "black"))))
    assert not len(ink(picture(lambda axes: CAMERA.draw_boxes(axes, box))))


def test_boxes_surround_their_points_and_cells_lie_under_them():
    box = torch.tensor([[12.0, 4.0, -0.8, 4.0, 2.0, 2.0, 0.4]])
    grid = VoxelGrid((0, 0, -2, 20, 10, 2), (1, 1, 4))
    edges = ink(picture(lambda axes: CAMERA.draw_boxes(axes, box)))
    centre = ink(picture(lambda axes: CAMERA.draw_points(axes, box[:, :3], "black", size=30))).mean(axis=0)
    cell = ink(picture(lambda axes: CAMERA.draw_cells(axes, grid, torch.tensor([[0, 0, 3, 11]]), (0, 0, 0))))
    assert (edges.min(axis=0) < centre - 5).all()
    assert (edges.max(axis=0) > centre + 5).all()
    assert (cell.mean(axis=0) > edges.min(axis=0)).all()
    assert cell.mean(axis=0)[0] > centre[0]
