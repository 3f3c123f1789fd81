"""What transforms of single samples work on: the frames of a clip; an image is a clip of one frame.

A transform is called with a list of PIL images and a numpy generator and returns a new list. All frames of a sample see
the same draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mae3d.errors import ConfigError

Frames = list[Image.Image]
FrameTransform = Callable[[Frames, np.random.Generator], Frames]

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def resampling(name: str) -> Image.Resampling:
    """PIL's filter of this name."""
    if name not in RESAMPLING:
        raise ConfigError(f"interpolation must be one of {sorted(RESAMPLING)}, got {name!r}")
    return RESAMPLING[name]


def to_tensor(frames: Frames) -> Tensor:
    """Frames of equal size -> uint8 [channels, frames, rows, columns]."""
    arrays = [np.asarray(frame) for frame in frames]
    stacked = np.stack([array if array.ndim == 3 else array[..., None] for array in arrays])
    return torch.from_numpy(np.ascontiguousarray(stacked.transpose(3, 0, 1, 2)))
