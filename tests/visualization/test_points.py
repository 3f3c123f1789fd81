"""Pictures of clouds: what is near hides what is far, cameras are shared, files are readable."""

import matplotlib.image
import numpy as np
import pytest
import torch

from mae3d.structures.reconstruction import Reconstruction
from mae3d.visualization.points import (
    PREDICTED,
    VISIBLE,
    View,
    render_points,
    render_reconstruction,
    save_reconstructions,
    save_sheet,
)


def test_near_points_hide_far_ones():
    view = View((0, 0, 0), 1.0, azimuth=0, elevation=0)
    both = np.array([[0, 0, -0.5], [0, 0, 0.5]])
    colors = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    for order in ([0, 1], [1, 0]):
        image = render_points(both[order], colors=colors[order], view=view, size=65, splat=2)
        red, _, blue = image[32, 32].astype(int)
        assert blue > red + 100


def test_axes_of_the_picture():
    view = View((0, 0, 0), 1.0, azimuth=0, elevation=0)
    for point, (row, column) in {(0.5, 0, 0): (50, 75), (0, 0.5, 0): (25, 50), (0, 0, 0): (50, 50)}.items():
        image = render_points(np.array([point]), view=view, size=101, splat=0)
        assert np.argwhere(image.sum(2) < 765).tolist() == [[row, column]]
    lifted = View((0, 0, 0), 1.0, azimuth=0, elevation=0, up="z")
    image = render_points(np.array([[0, 0, 0.5]]), view=lifted, size=101, splat=0)
    assert np.argwhere(image.sum(2) < 765).tolist() == [[25, 50]]


@pytest.mark.parametrize("azimuth", [0, 35, 200])
def test_projection_is_a_rotation(azimuth):
    points = np.random.default_rng(0).normal(size=(20, 3))
    for up in "yz":
        projected = View((0, 0, 0), 1.0, azimuth, 25, up).project(points)
        np.testing.assert_allclose(projected @ projected.T, points @ points.T, atol=1e-12)
        assert np.linalg.det(np.linalg.lstsq(points, projected, rcond=None)[0]) == pytest.approx(1)


def test_whole_cloud_is_inside_and_bad_points_are_left_out():
    points = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) * 100 + 1000
    points[3] = float("nan")
    image = render_points(points, size=64)
    assert image.dtype == np.uint8
    assert (image < 255).any()
    assert (image[[0, -1]] == 255).all()
    assert (render_points(np.full((2, 3), np.inf), size=8) == 255).all()
    assert (render_points(np.zeros((0, 3)), size=8) == 255).all()
    assert (render_points(np.zeros((1, 3)), size=9) < 255).any()


def test_reconstruction_pictures_share_the_camera():
    generator = np.random.default_rng(0)
    original = generator.uniform(-1, 1, (400, 3))
    images = render_reconstruction(original, original[:200], original[200:], size=96)
    drawn = [(image < 255).any(2) for image in images]
    assert (drawn[0] & drawn[2]).sum() > 0.8 * drawn[0].sum()
    assert (drawn[1] & ~drawn[2]).sum() == 0
    hue = images[2].astype(int)[..., 0] - images[2].astype(int)[..., 2]
    assert (hue > 40).any()
    assert (hue < -40).any()
    assert VISIBLE != PREDICTED


def test_sheets_are_written(tmp_path):
    images = [render_points(np.random.default_rng(i).normal(size=(50, 3)), size=32) for i in range(5)]
    path = save_sheet(images, tmp_path / "deep" / "sheet.png", titles=["a", "b"], columns=3)
    assert matplotlib.image.imread(path).ndim == 3
    cloud = torch.rand(2, 60, 3)
    path = save_reconstructions(
        Reconstruction(cloud, cloud[:, :20], cloud[:, 20:]), tmp_path / "pairs.png", titles=["chair"]
    )
    assert path.stat().st_size > 1000
