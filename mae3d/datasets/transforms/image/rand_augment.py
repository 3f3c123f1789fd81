"""RandAugment with "increasing" operations, as timm's ``rand-m9-mstd0.5-inc1`` defines it (arXiv 1909.13719)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from mae3d.datasets.transforms.image.frames import Frames, resampling
from mae3d.errors import ConfigError
from mae3d.registry import TRANSFORMS

Operation = Callable[[Image.Image, float, dict], Image.Image]
MAXIMUM = 10.0
FILL = (124, 116, 104)
"""Mean colour of ImageNet, put where a turned or moved image shows nothing."""


def _affine(matrix: tuple[float, ...]) -> Operation:
    """``matrix`` holds "s" where the signed strength goes."""

    def apply(image: Image.Image, strength: float, options: dict) -> Image.Image:
        values = [strength if value == "s" else value for value in matrix]
        return image.transform(image.size, Image.Transform.AFFINE, values, **options)

    return apply


def _translate(axis: int) -> Operation:
    def apply(image: Image.Image, strength: float, options: dict) -> Image.Image:
        moved = [1, 0, 0, 0, 1, 0]
        moved[2 if axis == 0 else 5] = strength * image.size[axis]
        return image.transform(image.size, Image.Transform.AFFINE, moved, **options)

    return apply


def _enhance(kind: type) -> Operation:
    return lambda image, strength, options: kind(image).enhance(max(0.1, 1 + strength))


def _solarize_add(image: Image.Image, strength: float, options: dict) -> Image.Image:
    """Brighten what is darker than the middle."""
    table = [min(255, value + int(strength)) if value < 128 else value for value in range(256)]
    return image.point(table * len(image.getbands()))


def _rotate(image: Image.Image, strength: float, options: dict) -> Image.Image:
    return image.rotate(strength, resample=options["resample"], fillcolor=options["fillcolor"])


# Operation, its strength at the largest magnitude, whether the sign is drawn.
OPERATIONS: dict[str, tuple[Operation, float, bool]] = {
    "auto_contrast": (lambda image, strength, options: ImageOps.autocontrast(image), 0, False),
    "equalize": (lambda image, strength, options: ImageOps.equalize(image), 0, False),
    "invert": (lambda image, strength, options: ImageOps.invert(image), 0, False),
    "rotate": (_rotate, 30, True),
    "posterize": (lambda image, strength, options: ImageOps.posterize(image, max(1, 4 - int(strength))), 4, False),
    "solarize": (lambda image, strength, options: ImageOps.solarize(image, 256 - min(256, int(strength))), 256, False),
    "solarize_add": (_solarize_add, 110, False),
    "color": (_enhance(ImageEnhance.Color), 0.9, True),
    "contrast": (_enhance(ImageEnhance.Contrast), 0.9, True),
    "brightness": (_enhance(ImageEnhance.Brightness), 0.9, True),
    "sharpness": (_enhance(ImageEnhance.Sharpness), 0.9, True),
    "shear_x": (_affine((1, "s", 0, 0, 1, 0)), 0.3, True),
    "shear_y": (_affine((1, 0, 0, "s", 1, 0)), 0.3, True),
    "translate_x": (_translate(0), 0.45, True),
    "translate_y": (_translate(1), 0.45, True),
}


@TRANSFORMS.register_module()
class RandAugment:
    """A few operations drawn with replacement, each applied with probability one half.

    Args:
        magnitude: Mean strength, of 10.
        spread: Standard deviation of the strength, which is cut to 0 .. 10.
        count: Operations drawn (``n``).
        interpolation: Of turned and moved images.
    """

    def __init__(
        self, magnitude: float = 9.0, spread: float = 0.5, count: int = 2, interpolation: str = "bicubic"
    ) -> None:
        if not 0 <= magnitude <= MAXIMUM or count < 1:
            raise ConfigError(f"RandAugment: magnitude in 0 .. 10 and count >= 1, got {magnitude} and {count}")
        self.magnitude, self.spread, self.count = magnitude, spread, count
        self.resample = resampling(interpolation)

    def __call__(self, frames: Frames, generator: np.random.Generator) -> Frames:
        """The same operations with the same strengths on every frame (RGB)."""
        options = {"resample": self.resample, "fillcolor": FILL}
        for name in generator.choice(list(OPERATIONS), self.count):
            if generator.random() > 0.5:
                continue
            operation, largest, signed = OPERATIONS[name]
            level = np.clip(generator.normal(self.magnitude, self.spread), 0, MAXIMUM)
            strength = float(largest * level / MAXIMUM)
            if signed and generator.random() > 0.5:
                strength = -strength
            frames = [operation(frame, strength, options) for frame in frames]
        return frames
