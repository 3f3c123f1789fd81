"""End on SIGINT or SIGTERM with a checkpoint instead of a loss of work."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.logging import print_log

from mae3d.engine.hooks.checkpoint import AtomicCheckpointHook
from mae3d.registry import HOOKS


class Interrupted(SystemExit):
    """The run was asked to end and has saved; the exit status is 128 + the signal's number, as shells have it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Save after the current iteration when SIGINT or SIGTERM arrives, print how to resume, and exit.

    A second signal ends the process at once. With several processes they agree on it, every ``interval`` iterations.

    Args:
        interval: Iterations between two agreements of several processes.
    """

    priority = "LOWEST"

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self._received = 0
        self._previous: dict[int, object] = {}

    def before_train(self, runner) -> None:
        """Listen (only the main thread can)."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._receive)

    def after_train(self, runner) -> None:
        """Give the signals back."""
        self._restore()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save and exit if asked to."""
        number = self._agreed(runner)
        if not number:
            return
        self._restore()
        path = self._save(runner)
        hint = f"resume with --resume auto --work-dir {runner.work_dir}" if path else "nothing was saved"
        name = signal.Signals(number).name
        print_log(f"{name} received: stopped after iteration {runner.iter + 1}; {hint}", logger="current")
        raise Interrupted(number)

    def _agreed(self, runner) -> int:
        if runner.world_size == 1:
            return self._received
        if (runner.iter + 1) % self.interval:
            return 0
        device = next(runner.model.parameters()).device
        number = torch.tensor(self._received, device=device)
        all_reduce(number, op="max")
        return int(number)

    def _save(self, runner) -> Path | None:
        for hook in runner.hooks:
            if isinstance(hook, AtomicCheckpointHook):
                return hook.save_iteration(runner)
        return None

    def _receive(self, number: int, frame) -> None:
        self._received = number
        self._restore()
        # Not through the logger: the signal may have come while it was writing, and streams are not reentrant.
        os.write(2, f"{signal.Signals(number).name}: saving after this iteration (again to quit at once)\n".encode())

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
