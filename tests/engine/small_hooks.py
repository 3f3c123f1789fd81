"""Hooks that disturb a run on purpose."""

import time
from pathlib import Path

import torch
from mmengine.hooks import Hook

from mae3d.registry import HOOKS


@HOOKS.register_module()
class PauseHook(Hook):
    """Wait after an iteration, so that a test can send a signal there."""

    priority = "LOWEST"

    def __init__(self, after: int = 0, seconds: float = 60) -> None:
        self.after = after
        self.seconds = seconds

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.after:
            print("pausing", flush=True)
            time.sleep(self.seconds)


@HOOKS.register_module()
class RankWeightsHook(Hook):
    """Write the weights of every rank at the end (whole, where they are sharded)."""

    def after_train(self, runner) -> None:
        model = getattr(runner.model, "module", runner.model)
        state = {
            name: value.full_tensor() if hasattr(value, "full_tensor") else value
            for name, value in model.state_dict().items()
        }
        torch.save(state, Path(runner.work_dir) / f"rank_{runner.rank}.pt")
