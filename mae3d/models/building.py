"""How models take their parts and switch their mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from mae3d.registry import MODELS


def build(part: nn.Module | dict) -> nn.Module:
    """The part itself, or the one that a config describes."""
    return MODELS.build(part) if isinstance(part, dict) else part


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Run a block in eval mode, then put back the mode of every submodule as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
