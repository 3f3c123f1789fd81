"""The run record: what ran, where, from which seed, and what it reached."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import mmengine
import numpy as np
import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner.base_loop import BaseLoop

import mae3d
from mae3d.engine.hooks.stateful import StatefulHook
from mae3d.engine.loops import counts_epochs
from mae3d.engine.storage import write_atomically
from mae3d.errors import ConfigError
from mae3d.registry import HOOKS


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Append one entry per start to ``run.json`` in the work directory.

    An entry holds the command, the commit, the versions, the devices, the seed and the iteration it starts at. The
    resolved config stands beside it under the name of the config file.
    """

    priority = "LOW"

    @master_only
    def before_train(self, runner) -> None:
        """Write the entry."""
        path = Path(runner.work_dir) / "run.json"
        record = json.loads(path.read_text()) if path.is_file() else {"starts": []}
        record["starts"].append(_start(runner))
        write_atomically(path, json.dumps(record, indent=2).encode())


def _start(runner) -> dict:
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "command": sys.argv,
        "seed": runner.seed,
        "deterministic": torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic,
        "iteration": runner.iter,
        "processes": runner.world_size,
        "commit": _commit(),
        "versions": {
            "mae3d": mae3d.__version__,
            "torch": torch.__version__,
            "mmengine": mmengine.__version__,
            "numpy": np.__version__,
            "python": sys.version.split()[0],
        },
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        or [f"cpu, {torch.get_num_threads()} threads of {os.cpu_count()} cores"],
    }


def _commit() -> str | None:
    folder = Path(mae3d.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


@HOOKS.register_module()
class MetricRecordHook(StatefulHook):
    """Keep every validation's metrics and report two numbers at the end: the best epoch and the last one.

    The object-point papers validate on the test split and report its best epoch, so the test split selects the
    checkpoint. That figure is printed as published, beside the last epoch's, which nothing was selected on.

    Args:
        metric: The metric that both numbers report; None for the first one.
        rule: ``greater`` or ``less`` is better.
        split: What the validation data loader reads: ``test`` or ``validation``; changes the wording only.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, metric: str | None = None, rule: str = "greater", split: str = "test") -> None:
        if rule not in ("greater", "less"):
            raise ConfigError(f"MetricRecordHook: rule={rule!r}, expected 'greater' or 'less'")
        self.metric = metric
        self.rule = rule
        self.split = split
        self.history: dict[int, dict[str, float]] = {}

    def state_dict(self) -> dict:
        """Return the metrics so far by epoch (or iteration)."""
        return {"history": self.history}

    def load_state_dict(self, state: dict) -> None:
        """Continue the record."""
        self.history = dict(state["history"])

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Add an entry."""
        if not metrics or not isinstance(runner._train_loop, BaseLoop):
            return
        step = runner.epoch if counts_epochs(runner) else runner.iter
        self.history[step] = {name: float(value) for name, value in metrics.items() if np.ndim(value) == 0}

    def after_train(self, runner) -> None:
        """Print both numbers and write ``metrics.json``."""
        if not self.history:
            return
        summary = summarise(self.history, self.metric, self.rule, self.split)
        print_log(summary["text"], logger="current")
        self._write(runner, {**summary, "history": self.history})

    @master_only
    def _write(self, runner, content: dict) -> None:
        write_atomically(Path(runner.work_dir) / "metrics.json", json.dumps(content, indent=2).encode())


def summarise(
    history: dict[int, dict[str, float]], metric: str | None = None, rule: str = "greater", split: str = "test"
) -> dict:
    """Reduce a metric's history to its best and its last value.

    Returns:
        ``metric``, ``best`` and ``last`` (each with ``step`` and ``value``), and a ``text`` that says which is which.

    Raises:
        ConfigError: The metric was never recorded.
    """
    last_step = max(history)
    metric = metric or next(iter(history[last_step]))
    values = {step: entry[metric] for step, entry in history.items() if metric in entry}
    if last_step not in values:
        raise ConfigError(f"MetricRecordHook: no metric {metric!r}, expected one of {sorted(history[last_step])}")
    choose = max if rule == "greater" else min
    best_step = choose(sorted(values), key=values.__getitem__)
    selected = "selected on test, as published" if split == "test" else "selected on validation"
    return {
        "metric": metric,
        "best": {"step": best_step, "value": values[best_step]},
        "last": {"step": last_step, "value": values[last_step]},
        "text": (
            f"{metric}: best {values[best_step]:.4f} at {best_step} ({selected}); "
            f"last {values[last_step]:.4f} at {last_step} (honest: nothing selected on {split})"
        ),
    }
