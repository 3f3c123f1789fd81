"""The step between loader and model: stack, move to the device, augment, all on whole batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mae3d.datasets import transforms  # noqa: F401  (registers them)
from mae3d.errors import ConfigError, DataError
from mae3d.registry import MODELS, TRANSFORMS

Transform = Callable[..., dict[str, Any]]


def _build(transform: dict[str, Any] | Transform) -> Transform:
    return TRANSFORMS.build(transform) if isinstance(transform, dict) else transform


@MODELS.register_module()
class BatchPreprocessor(BaseDataPreprocessor):
    """Makes the keyword arguments of a model's ``forward`` from what the loader gives.

    Args:
        train_transforms: Applied in order when training: configs of registered transforms or callables
            ``(batch, generator) -> batch``.
        test_transforms: The same for validation and testing.
        seed: Seed of a generator that belongs to the transforms alone; its state is not part of a checkpoint. None
            draws from torch's global generator of the batch's device, which the runner seeds in each iteration.
        non_blocking: Copy to the device without waiting (pinned memory).
    """

    def __init__(
        self,
        train_transforms: Sequence[dict[str, Any] | Transform] = (),
        test_transforms: Sequence[dict[str, Any] | Transform] = (),
        *,
        seed: int | None = None,
        non_blocking: bool = False,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        for name, given in (("train_transforms", train_transforms), ("test_transforms", test_transforms)):
            if isinstance(given, dict) or callable(given):
                raise ConfigError(f"BatchPreprocessor: {name} must be a list of transforms, got one")
        self.train_transforms = [_build(transform) for transform in train_transforms]
        self.test_transforms = [_build(transform) for transform in test_transforms]
        self.generator = None if seed is None else torch.Generator().manual_seed(seed)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """Batch on the model's device, transformed.

        Args:
            data: Batch dict of stacked tensors (default_collate) or of lists of samples (pseudo_collate).
            training: Which transforms are applied.

        Raises:
            DataError: Samples of a list differ in shape.
        """
        batch = self.cast_data({name: _stack(name, value) for name, value in data.items()})
        for transform in self.train_transforms if training else self.test_transforms:
            batch = transform(batch, self.generator)
        return batch


def _stack(name: str, value: Any) -> Any:
    """Lists of equal tensors or numbers become one tensor; other values stay."""
    if not isinstance(value, (list, tuple)) or not value:
        return value
    if all(isinstance(item, (bool, int, float)) for item in value):
        return torch.tensor(value)
    if not all(isinstance(item, Tensor) for item in value):
        return value
    shapes = {tuple(item.shape) for item in value}
    if len(shapes) > 1:
        raise DataError(
            f"batch: samples of '{name}' differ in shape: {sorted(shapes)}. Give the dataset a fixed npoints."
        )
    return torch.stack(list(value))
