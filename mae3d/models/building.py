"""How models take their parts and switch their mode."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

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


def embed(tokenizer: nn.Module, features: Tensor) -> Tensor:
    """Features of tokens as an encoder takes them; see :class:`mae3d.structures.Tokens` on late embedding."""
    return tokenizer.embed(features) if hasattr(tokenizer, "embed") else features
