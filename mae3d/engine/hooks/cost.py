"""What a training costs: parameters, operations, time, memory, of the backbone and of the rest."""

from __future__ import annotations

import json
import resource
import time
from contextlib import suppress
from pathlib import Path

import torch
from mmengine.dist import is_main_process
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mae3d.engine.flops import flop_counter
from mae3d.engine.hooks.progress import batch_size_of
from mae3d.engine.hooks.stateful import StatefulHook
from mae3d.engine.storage import write_atomically
from mae3d.errors import ConfigError
from mae3d.registry import HOOKS

_TOTALS = ("timed_steps", "samples", "tokens", "encoded", "seconds", "cpu_seconds", "step_seconds")


@HOOKS.register_module()
class CostHook(StatefulHook):
    """Measure a run and write ``cost.json`` into its work directory.

    The first step of a process counts operations and is in no time; probes and pictures before the first step and after
    the last are in none either. On a GPU the hook waits for the device after every step.

    Written are ``parameters`` (learning ones in ``backbone`` and ``rest``), ``flops_per_step`` (of the counted step,
    forward and backward, see :func:`mae3d.engine.flops.flop_counter`), all ``steps`` of the run, and over the
    ``timed_steps``, one less for each start or resume: ``samples``, ``tokens`` (made by the tokenizer), ``encoded``
    (that went through the backbone), ``seconds`` (with loading), ``step_seconds`` (without), ``cpu_seconds`` (of the
    process, all threads). ``memory_mb`` is the most that the process grew beyond its size before training, on a GPU
    what torch allocated there at most.

    Args:
        backbone: Name of the part of the model whose ``blocks`` the objectives of a comparison share.
    """

    priority = "VERY_HIGH"

    def __init__(self, backbone: str = "encoder") -> None:
        self.backbone = backbone
        self.totals = dict.fromkeys(_TOTALS, 0.0)
        self.flops = 0
        self.memory = 0.0
        self._counter: FlopCounterMode | None = None
        self._step = {"tokens": 0, "encoded": 0}
        self._handles: list = []

    def state_dict(self) -> dict:
        """Return what was measured so far."""
        return {"totals": self.totals, "flops": self.flops, "memory": self.memory}

    def load_state_dict(self, state: dict) -> None:
        """Go on measuring."""
        self.totals, self.flops, self.memory = dict(state["totals"]), state["flops"], state["memory"]

    def before_train(self, runner) -> None:
        """Note the size of the process and watch tokenizer and backbone."""
        model = _bare(runner.model)
        self._size_before = _resident()
        backbone = self._find(model)
        self._handles = [backbone.register_forward_pre_hook(self._note_encoded, with_kwargs=True)]
        if isinstance(getattr(model, "tokenizer", None), nn.Module):
            self._handles.append(model.tokenizer.register_forward_hook(self._note_tokens))

    def before_train_epoch(self, runner) -> None:
        """Start the clocks."""
        _reset_peak()
        self._first, self._last, self._last_cpu = True, time.perf_counter(), time.process_time()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Begin a step."""
        self._step_start = time.perf_counter()
        self._step = {"tokens": 0, "encoded": 0}
        if self._first:
            self._counter = flop_counter()
            self._counter.__enter__()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """End a step."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now, cpu = time.perf_counter(), time.process_time()
        if self._first:
            self._counter.__exit__(None, None, None)
            self.flops, self._counter, self._first = self._counter.get_total_flops(), None, False
        else:
            self._add(batch_size_of(data_batch), now, cpu)
        self._last, self._last_cpu = now, cpu
        self.memory = max(self.memory, _peak(self._size_before))

    def after_train(self, runner) -> None:
        """Write the file."""
        for handle in self._handles:
            handle.remove()
        learning = {name: p.numel() for name, p in _bare(runner.model).named_parameters() if p.requires_grad}
        shared = sum(size for name, size in learning.items() if name.startswith(f"{self.backbone}.blocks."))
        content = {
            "parameters": {"backbone": shared, "rest": sum(learning.values()) - shared},
            "flops_per_step": self.flops,
            "memory_mb": self.memory,
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
            "steps": runner.iter,
            **self.totals,
        }
        if is_main_process():
            write_atomically(Path(runner.work_dir) / "cost.json", json.dumps(content, indent=2).encode())

    def _find(self, model: nn.Module) -> nn.Module:
        found = dict(model.named_modules()).get(self.backbone)
        if found is None or not hasattr(found, "blocks"):
            parts = [name for name, part in model.named_modules() if hasattr(part, "blocks")]
            raise ConfigError(
                f"CostHook: {type(model).__name__} has no part {self.backbone!r} with blocks; parts that have some: "
                f"{parts}"
            )
        return found

    def _add(self, samples: int, now: float, cpu: float) -> None:
        added = {
            "timed_steps": 1,
            "samples": samples,
            "seconds": now - self._last,
            "step_seconds": now - self._step_start,
        }
        for name, value in (added | self._step | {"cpu_seconds": cpu - self._last_cpu}).items():
            self.totals[name] += value

    def _note_tokens(self, module: nn.Module, inputs: tuple, output) -> None:
        if not self._step["tokens"]:  # some systems embed their tokens a second time
            features = getattr(output, "features", output)
            self._step["tokens"] = features.numel() // features.shape[-1]

    def _note_encoded(self, module: nn.Module, inputs: tuple, named: dict) -> None:
        tokens = inputs[0] if inputs else named["tokens"]
        self._step["encoded"] += tokens.numel() // tokens.shape[-1]


def _bare(model: nn.Module) -> nn.Module:
    return getattr(model, "module", model)


def _status(name: str) -> float | None:
    """A size of this process in MB from Linux's status file."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), None)


def _largest() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _resident() -> float:
    size = _status("VmRSS")
    return _largest() if size is None else size


def _reset_peak() -> None:
    """Forget the largest size so far; where the system does not let it, the peak includes what came before."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak(before: float) -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    size = _status("VmHWM")
    return max((_largest() if size is None else size) - before, 0.0)
