"""Keep half-accumulated gradients across a restart."""

from __future__ import annotations

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from torch.distributed.tensor import DTensor

from mae3d.engine.distributed.sharding import like
from mae3d.models.targets import EmaTeacher
from mae3d.registry import HOOKS


@HOOKS.register_module()
class AccumulationHook(Hook):
    """Store gradients in checkpoints that fall between two optimizer steps; teachers follow steps, not batches.

    With gradient accumulation an iteration is not always a step; without the gradients gathered so far, a resumed run
    would take one smaller step. Several processes store the mean of theirs, which is what the step uses.
    """

    def __init__(self) -> None:
        self._gradients: dict[str, torch.Tensor] = {}

    def before_collect_checkpoint(self, runner) -> None:
        """Gather, on all ranks."""
        self._gradients = {}
        wrapper = runner.optim_wrapper
        if wrapper.inner_count == 0 or wrapper.should_update():
            return
        for name, parameter in _model(runner).named_parameters():
            if parameter.grad is not None:
                self._gradients[name] = _mean_over_ranks(parameter.grad.detach())

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add them."""
        if self._gradients:
            checkpoint["gradients"] = self._gradients

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep them until the optimizer is there."""
        self._gradients = checkpoint.get("gradients", {}) if runner._resume else {}

    def before_train(self, runner) -> None:
        """Put them back, and tell averaging teachers how many batches make a step."""
        for module in _model(runner).modules():
            if isinstance(module, EmaTeacher):
                module.every = runner.optim_wrapper._accumulative_counts
        for name, parameter in _model(runner).named_parameters():
            if name in self._gradients:
                parameter.grad = like(self._gradients[name], parameter, name)
        self._gradients = {}


def _mean_over_ranks(gradient: torch.Tensor) -> torch.Tensor:
    if isinstance(gradient, DTensor):  # sharded gradients are means already
        return gradient.full_tensor().cpu()
    gradient = gradient.clone()
    all_reduce(gradient, op="mean")
    return gradient.cpu()


def _model(runner) -> torch.nn.Module:
    return getattr(runner.model, "module", runner.model)
