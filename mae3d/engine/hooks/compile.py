"""Compilation of the model, before the first iteration."""

from __future__ import annotations

from operator import attrgetter

from mmengine.hooks import Hook
from mmengine.logging import print_log
from torch import nn

from mae3d.errors import ConfigError
from mae3d.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the model, or named parts of it, in place.

    ``nn.Module.compile`` keeps the names in the state dict, and leaves backward and optimizer out of the graph, which
    mmengine's own ``compile`` switch takes in at the price of graph breaks.

    Args:
        targets: Dotted names of sub-modules; empty compiles the whole model.
        options: Arguments of ``torch.compile``, such as ``mode`` or ``dynamic``.
    """

    priority = "VERY_HIGH"

    def __init__(self, targets: list[str] | tuple[str, ...] = (), options: dict | None = None) -> None:
        self.targets = tuple(targets)
        self.options = dict(options or {})

    def before_train(self, runner) -> None:
        """Compile."""
        model = getattr(runner.model, "module", runner.model)
        for name in self.targets or ("",):
            submodule(model, name, "CompileHook.targets").compile(**self.options)
        print_log(f"torch.compile: {', '.join(self.targets) or 'the whole model'}", logger="current")


def submodule(model: nn.Module, name: str, where: str) -> nn.Module:
    """Return a sub-module by its dotted name; the empty name is the model.

    Raises:
        ConfigError: There is none; the model's children are listed.
    """
    if not name:
        return model
    try:
        return attrgetter(name)(model)
    except AttributeError:
        children = sorted(child for child, _ in model.named_children())
        raise ConfigError(f"{where}: {type(model).__name__} has no {name!r}, expected one of {children}") from None
