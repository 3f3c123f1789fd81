"""Hooks that disturb a run on purpose."""

import time

from mmengine.hooks import Hook

from mae3d.registry import HOOKS


@HOOKS.register_module()
class PauseHook(Hook):
    """Wait long after an iteration, so that a test can kill the process there."""

    priority = "LOWEST"

    def __init__(self, after: int = 0) -> None:
        self.after = after

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.after:
            print("pausing", flush=True)
            time.sleep(60)
