"""BatchNorm statistics that settle while training goes on."""

from __future__ import annotations

from mmengine.hooks import Hook
from torch.nn.modules.batchnorm import _BatchNorm

from mae3d.errors import ConfigError
from mae3d.registry import HOOKS


@HOOKS.register_module()
class BatchNormMomentumHook(Hook):
    """Lower the share of a batch in the running statistics, as PointNet++'s segmentation scripts do.

    Epoch e, from 0, runs at ``max(floor, momentum * decay ** (e // interval))``; so does a resumed run.

    Args:
        momentum: Share of a batch at first.
        decay: Factor.
        interval: Epochs between two steps.
        floor: Lowest share.
    """

    def __init__(self, momentum: float = 0.1, decay: float = 0.5, interval: int = 20, floor: float = 0.01) -> None:
        if interval < 1:
            raise ConfigError(f"BatchNormMomentumHook: interval must be at least 1, got {interval}")
        self.momentum = momentum
        self.decay = decay
        self.interval = interval
        self.floor = floor

    def before_train_epoch(self, runner) -> None:
        """Set the share of this epoch."""
        share = max(self.floor, self.momentum * self.decay ** (runner.epoch // self.interval))
        for module in runner.model.modules():
            if isinstance(module, _BatchNorm):
                module.momentum = share
