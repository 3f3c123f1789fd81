"""Pictures of reconstructed images and clips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from mae3d.structures import PixelReconstruction
from mae3d.visualization.points import save_sheet

FRAMES_SHOWN = 4


def to_picture(values: Tensor) -> np.ndarray:
    """One sample [C, rows, columns] in [0, 1] -> uint8 [rows, columns, 3]; of a clip a strip of frames.

    One channel is shown in grey; of more than three the first three are shown.
    """
    if values.dim() == 4:
        count = values.shape[1]
        chosen = np.linspace(0, count - 1, min(FRAMES_SHOWN, count)).round().astype(int)
        return np.concatenate([to_picture(values[:, frame]) for frame in chosen], axis=1)
    channels = values[:3] if values.shape[0] >= 3 else values[:1].expand(3, -1, -1)
    pixels = channels.detach().float().cpu().clamp(0, 1).movedim(0, -1).numpy()
    return (pixels * 255).round().astype(np.uint8)


def render_pixels(result: PixelReconstruction, index: int) -> list[np.ndarray]:
    """Three pictures of one sample: the input, what the encoder saw, and that with the prediction filled in."""
    return [to_picture(part[index]) for part in (result.original, result.visible, result.predicted)]


def save_pixel_reconstructions(
    result: PixelReconstruction, path: str | Path, *, titles: Sequence[str] = (), limit: int = 8
) -> Path:
    """Save a PNG with one row of three pictures for each of the first ``limit`` samples of a batch."""
    images: list[np.ndarray] = []
    captions: list[str] = []
    for index in range(min(limit, len(result.original))):
        images += render_pixels(result, index)
        captions += [titles[index] if index < len(titles) else f"sample {index}", "visible", "reconstruction"]
    return save_sheet(images, path, titles=captions, columns=3, inches=2.4 if result.original.dim() == 4 else 4.8)
