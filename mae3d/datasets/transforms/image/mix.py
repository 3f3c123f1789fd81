"""Mixup and cutmix with soft targets, one draw for the batch, as timm does it (arXiv 1710.09412 and 1905.04899)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from mae3d.datasets.transforms.image.batch import Batch, pixel_field
from mae3d.datasets.transforms.random_draws import draw_beta, draw_uniform
from mae3d.errors import ConfigError, DataError
from mae3d.registry import TRANSFORMS


@TRANSFORMS.register_module()
class Mixup:
    """Mix each sample with its mirror image in the batch, by mixup or by cutmix, and write ``target`` [B, K].

    Args:
        num_classes: K.
        mixup: Alpha of mixup's Beta distribution; 0 for none.
        cutmix: Alpha of cutmix; 0 for none. With both, one of them is drawn for each batch.
        switch: Probability of cutmix where both are given.
        probability: Of a batch to be mixed at all; targets are smoothed in any case.
        label_smoothing: Share of probability spread over all classes.
    """

    def __init__(
        self,
        num_classes: int,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        *,
        switch: float = 0.5,
        probability: float = 1.0,
        label_smoothing: float = 0.1,
    ) -> None:
        if min(mixup, cutmix) < 0 or max(mixup, cutmix) == 0:
            raise ConfigError(f"Mixup: mixup and cutmix must not be negative and not both 0, got {mixup} and {cutmix}")
        self.num_classes, self.mixup, self.cutmix = num_classes, mixup, cutmix
        self.switch, self.probability, self.label_smoothing = switch, probability, label_smoothing

    def __call__(self, batch: Batch, generator: torch.Generator | None = None) -> Batch:
        """A new batch, transformed; pixels must be floating-point ones.

        Raises:
            DataError: No labels, a label outside the classes, or pixels that are not normalised yet.
        """
        name = pixel_field(batch, "Mixup")
        pixels, label = batch[name], batch.get("label")
        if label is None or not pixels.is_floating_point():
            raise DataError("Mixup needs normalised pixels and the field 'label'; put NormalizePixels before it")
        if label.numel() and int(label.max()) >= self.num_classes:
            raise DataError(f"Mixup: label {int(label.max())} of {self.num_classes} classes; set num_classes")
        weight = 1.0
        mixed, cut = draw_uniform((2,), 0, 1, torch.empty(0), generator).tolist()
        if mixed < self.probability:
            use_cutmix = self.cutmix > 0 and (self.mixup == 0 or cut < self.switch)
            alpha = self.cutmix if use_cutmix else self.mixup
            weight = draw_beta((), alpha, torch.empty(0, dtype=torch.float64), generator).item()
            if use_cutmix:
                pixels, weight = self._paste(pixels, weight, generator)
            else:
                pixels = pixels * weight + pixels.flip(0) * (1 - weight)
        target = self._soften(label)
        return {**batch, name: pixels, "target": target * weight + target.flip(0) * (1 - weight)}

    def _soften(self, label: Tensor) -> Tensor:
        rest = self.label_smoothing / self.num_classes
        return F.one_hot(label, self.num_classes).float() * (1 - self.label_smoothing) + rest

    def _paste(self, pixels: Tensor, weight: float, generator: torch.Generator | None) -> tuple[Tensor, float]:
        """Paste a rectangle of the mirror sample; the weight becomes the share of pixels that stay."""
        rows, columns = pixels.shape[-2:]
        share = math.sqrt(1 - weight)
        height, width = int(rows * share), int(columns * share)
        y, x = draw_uniform((2,), 0, 1, torch.empty(0), generator).tolist()
        y, x = int(y * rows), int(x * columns)
        top, bottom = max(0, y - height // 2), min(rows, y + height // 2)
        left, right = max(0, x - width // 2), min(columns, x + width // 2)
        mixed = pixels.clone()
        mixed[..., top:bottom, left:right] = pixels.flip(0)[..., top:bottom, left:right]
        return mixed, 1 - (bottom - top) * (right - left) / (rows * columns)
