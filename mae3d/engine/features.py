"""Features of a frozen model for a whole data set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.dist import all_gather_object
from torch import nn
from torch.utils.data import DataLoader

from mae3d.errors import ConfigError


def inputs_of(model: nn.Module, batch: dict) -> list[torch.Tensor]:
    """What a model reconstructs and extracts features from: the field of its modality, or points (and offsets)."""
    names = (getattr(model, "modality", "points"), "points", "offsets")
    return [batch[name] for name in dict.fromkeys(names) if name in batch]


def context_of(model: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
    """What a model takes beside :func:`inputs_of`: of two-frame models the previous frame.

    Raises:
        ConfigError: The batch lacks it.
    """
    names = getattr(model, "context", ())
    missing = [name for name in names if name not in batch]
    if missing:
        raise ConfigError(
            f"{type(model).__name__} looks at two frames, the batch lacks {', '.join(missing)}; give a data set with "
            "an earlier frame, e.g. previous=dict(gaps=(1,))"
        )
    return {name: batch[name] for name in names}


@torch.no_grad()
def extract_features(model: nn.Module, loader: DataLoader) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features [N, D] and labels [N] of all samples of a loader, in order, on the host."""
    rows = []
    with quiet(model):
        for data in loader:
            batch = model.data_preprocessor(data, training=False)
            features = model.extract_features(*inputs_of(model, batch), **context_of(model, batch)).float().cpu()
            rows += list(zip(features, batch["label"].cpu()))
    ranks = all_gather_object(rows)  # rank r has samples r, r + W, ...
    rows = [row for position in zip(*ranks) for row in position][: len(loader.dataset)]
    return torch.stack([row for row, _ in rows]), torch.stack([label for _, label in rows])


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Evaluate without gradients, and put the mode of every sub-module back."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True
