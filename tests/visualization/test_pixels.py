"""Pictures of images and clips: values, channels, strips of frames, files."""

import matplotlib.image
import numpy as np
import torch

from mae3d.structures import PixelReconstruction
from mae3d.visualization.pixels import render_pixels, save_pixel_reconstructions, to_picture


def test_values_and_channels():
    colours = torch.tensor([0.0, 0.5, 2.0]).view(3, 1, 1).expand(3, 4, 5)
    assert to_picture(colours).shape == (4, 5, 3)
    assert to_picture(colours)[0, 0].tolist() == [0, 128, 255]
    assert (to_picture(torch.full((1, 2, 2), 0.2)) == 51).all()
    assert to_picture(torch.zeros(7, 2, 2)).shape == (2, 2, 3)


def test_a_clip_is_a_strip_of_its_frames():
    clip = (torch.arange(10) / 10).view(1, 10, 1, 1).expand(3, 10, 2, 3)
    strip = to_picture(clip)
    assert strip.shape == (2, 12, 3)
    assert (strip[0, ::3, 0] / 25.5).round().tolist() == [0, 3, 6, 9]


def test_sheets_are_as_high_as_their_pictures(tmp_path):
    images = torch.rand(2, 3, 16, 16)
    result = PixelReconstruction(images, images, images)
    square = matplotlib.image.imread(save_pixel_reconstructions(result, tmp_path / "a" / "images.png", titles=["x"]))
    assert 0.6 < square.shape[0] / square.shape[1] < 0.8
    clips = torch.rand(2, 3, 8, 16, 16)
    result = PixelReconstruction(clips, clips, clips)
    strips = matplotlib.image.imread(save_pixel_reconstructions(result, tmp_path / "clips.png"))
    assert strips.shape[0] / strips.shape[1] < 0.3
    assert [picture.shape for picture in render_pixels(result, 1)] == [(16, 64, 3)] * 3
    assert np.isfinite(strips).all()
