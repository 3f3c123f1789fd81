"""Stop a run that takes longer than it may."""

from __future__ import annotations

import time

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log

from mae3d.engine.hooks.checkpoint import AtomicCheckpointHook
from mae3d.errors import ConfigError
from mae3d.registry import HOOKS


@HOOKS.register_module()
class TimeLimitHook(Hook):
    """Save and end the training after so many minutes, as if the last iteration had come.

    Args:
        minutes: Of training in this process, validation included; earlier starts of a resumed run do not count.
        interval: Iterations between two looks at the clock.
    """

    priority = "LOWEST"

    def __init__(self, minutes: float, interval: int = 10) -> None:
        if minutes <= 0:
            raise ConfigError(f"TimeLimitHook: minutes must be above 0, got {minutes}")
        self.minutes = minutes
        self.interval = interval

    def before_train(self, runner) -> None:
        """Start the clock."""
        self._end = time.monotonic() + 60 * self.minutes

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Look at the clock; processes agree, so that all stop after the same iteration."""
        loop = runner.train_loop
        if loop.stop_training or (runner.iter + 1) % self.interval or not self._over(runner):
            return
        loop.stop_training = True
        for hook in runner.hooks:
            if isinstance(hook, AtomicCheckpointHook):
                hook.save_iteration(runner)
        print_log(f"{self.minutes:g} minutes are over: stopped after iteration {runner.iter + 1}", logger="current")

    def _over(self, runner) -> bool:
        over = time.monotonic() >= self._end
        if runner.world_size == 1:
            return over
        votes = torch.tensor(float(over), device=next(runner.model.parameters()).device)
        all_reduce(votes, op="max")
        return bool(votes)
