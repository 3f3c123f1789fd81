"""Images: from encoded bytes in a file to a sample of uint8 pixels."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from mae3d.datasets.base import SampleDataset
from mae3d.datasets.transforms.image.frames import FrameTransform, to_tensor
from mae3d.errors import DataError
from mae3d.registry import TRANSFORMS


def decode_image(data: bytes, name: str) -> Image.Image:
    """RGB image of encoded bytes (JPEG, PNG, ...); ``name`` begins the message of a DataError."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f'{name}: not a readable image ({error}). Replace the file or set on_error="skip".') from error


def build_transforms(transforms: Sequence[dict | FrameTransform]) -> list[FrameTransform]:
    """Transforms of single samples from configs or as they are."""
    return [TRANSFORMS.build(one) if isinstance(one, dict) else one for one in transforms]


class ImageDataset(SampleDataset):
    """Base of the image data sets.

    A sample is ``{"image": uint8 [3, rows, columns], "index": int64}`` with ``"label"`` (int64) where files have one.

    Args:
        transforms: Applied to each image in order: configs or callables ``(frames, generator) -> frames`` on PIL
            images. Images of one batch must come out in one size.
        seed, on_error: See :class:`mae3d.datasets.base.SampleDataset`.
    """

    def __init__(
        self,
        transforms: Sequence[dict | FrameTransform] = (),
        *,
        seed: int = 0,
        on_error: Literal["raise", "skip"] = "raise",
    ) -> None:
        super().__init__(seed=seed, on_error=on_error)
        self.transforms = build_transforms(transforms)

    @abstractmethod
    def load_image(self, index: int) -> tuple[Image.Image | np.ndarray, int | None]:
        """The image of sample ``index``, as PIL image or uint8 [rows, columns, 3], and its class."""

    def load(self, index: int) -> dict[str, Any]:
        """Sample ``index``: decoded and transformed."""
        image, label = self.load_image(index)
        frames = [Image.fromarray(image).convert("RGB") if isinstance(image, np.ndarray) else image]
        generator = self.random_generator(index)
        for transform in self.transforms:
            frames = transform(frames, generator)
        sample = {"image": to_tensor(frames)[:, 0], "index": torch.tensor(int(index), dtype=torch.int64)}
        if label is not None:
            sample["label"] = torch.tensor(label, dtype=torch.int64)
        return sample
