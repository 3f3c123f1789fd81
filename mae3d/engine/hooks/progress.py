"""What is printed and plotted while training: losses, rates, throughput, time left."""

from __future__ import annotations

import resource
import time
from collections import defaultdict, deque

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook, IterTimerHook, LoggerHook, RuntimeInfoHook
from mmengine.logging import HistoryBuffer
from torch.distributed.tensor import DTensor

from mae3d.engine.loops import counts_epochs
from mae3d.registry import HOOKS

_RECENT = 200


def log_is_due(runner, batch_idx: int) -> bool:
    """Tell whether the logger speaks after this training iteration (or the epoch ends)."""
    interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), 1)
    return (batch_idx + 1) % interval == 0 or batch_idx + 1 == len(runner.train_dataloader)


@HOOKS.register_module()
class ScalarsHook(RuntimeInfoHook):
    """Collect the model's scalars: means over the iterations since the last log line and over all ranks.

    Values stay tensors on their device until the logger needs them, so that no iteration waits for the GPU.
    """

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor | float] = defaultdict(float)
        self._count = 0

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Tell the iteration to components that do not know the runner."""
        runner.message_hub.update_info("iter", runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Add this iteration's scalars; publish the means when the logger is due."""
        for name, value in (outputs or {}).items():
            self._sums[name] += value.detach().float() if isinstance(value, torch.Tensor) else float(value)
        self._count += 1
        if log_is_due(runner, batch_idx):
            self._publish(runner)

    def _publish(self, runner) -> None:
        for name, value in self._means().items():
            runner.message_hub.update_scalar(f"train/{name}", value)
        for name, rates in runner.optim_wrapper.get_lr().items():
            if not name.endswith("base_lr"):  # mmengine's own, beside "lr" when there are several groups
                runner.message_hub.update_scalar(f"train/{name}", rates[0])
        norm = getattr(runner.optim_wrapper, "grad_norm", None)
        if norm is not None:
            norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
            runner.message_hub.update_scalar("train/grad_norm", float(norm))

    def _means(self) -> dict[str, float]:
        names = sorted(self._sums)
        if not names:
            return {}
        device = next((v.device for v in self._sums.values() if isinstance(v, torch.Tensor)), "cpu")
        values = torch.stack([torch.as_tensor(self._sums[name], device=device).float() for name in names])
        values = values / self._count
        all_reduce(values, op="mean")
        self._sums.clear()
        self._count = 0
        return dict(zip(names, values.tolist()))


@HOOKS.register_module()
class ThroughputHook(IterTimerHook):
    """Time per iteration, samples and tokens per second over all ranks, memory, and the time left.

    ``tokens_per_second`` appears where the model or its tokenizer has ``tokens_per_sample``, a fixed number. The time
    left counts the validations that are still due and is a mean over the last 200 iterations of this process, so it
    stays right after a resume.
    ``peak_memory_mb`` is the process's resident memory; on a GPU mmengine adds ``memory``, the device's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._times: deque[float] = deque(maxlen=_RECENT)
        self._data_times: deque[float] = deque(maxlen=_RECENT)
        self._validations: deque[float] = deque(maxlen=5)
        self._samples = 0
        self._since = 0.0

    def before_val(self, runner) -> None:
        """Start the clock of a validation."""
        self._validation_start = time.perf_counter()

    def after_val(self, runner) -> None:
        """Remember how long a validation takes."""
        self._validations.append(time.perf_counter() - self._validation_start)

    def _before_epoch(self, runner, mode: str = "train") -> None:
        super()._before_epoch(runner, mode)
        self._last = self._window_start = time.perf_counter()

    def _before_iter(self, runner, batch_idx: int, data_batch=None, mode: str = "train") -> None:
        if mode != "train":
            super()._before_iter(runner, batch_idx, data_batch, mode)
            return
        self._data_times.append(time.perf_counter() - self._last)

    def _after_iter(self, runner, batch_idx: int, data_batch=None, outputs=None, mode: str = "train") -> None:
        if mode != "train":
            super()._after_iter(runner, batch_idx, data_batch, outputs, mode)
            return
        now = time.perf_counter()
        self._times.append(now - self._last)
        self._last = now
        self._samples += batch_size_of(data_batch) * runner.world_size
        if log_is_due(runner, batch_idx):
            self._publish(runner, now)

    def _publish(self, runner, now: float) -> None:
        seconds = max(now - self._window_start, 1e-9)
        scalars = {
            "time": _mean(self._times),
            "data_time": _mean(self._data_times),
            "samples_per_second": self._samples / seconds,
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        model = getattr(runner.model, "module", runner.model)
        tokens = getattr(model, "tokens_per_sample", None) or getattr(
            getattr(model, "tokenizer", None), "tokens_per_sample", None
        )
        if tokens is not None:
            scalars["tokens_per_second"] = tokens * self._samples / seconds
        for name, value in scalars.items():
            runner.message_hub.update_scalar(f"train/{name}", value)
        runner.message_hub.update_info("eta", self._seconds_left(runner))
        self._samples, self._window_start = 0, now

    def _seconds_left(self, runner) -> float:
        iterations = max(runner.max_iters - runner.iter - 1, 0) * _mean(self._times)
        loop = runner.train_loop
        counted = (runner.epoch, runner.max_epochs) if counts_epochs(runner) else (runner.iter, runner.max_iters)
        step, last = counted
        due = max(last - max(step, loop.val_begin - 1), 0) // max(loop.val_interval, 1)
        return iterations + due * _mean(self._validations)


@HOOKS.register_module()
class BoundedHistoryHook(Hook):
    """Keep the log history short: mmengine appends to arrays of up to a million values, at a cost that grows.

    Args:
        interval: Iterations between two cuts.
        keep: Values of each scalar that survive a cut.
    """

    def __init__(self, interval: int = 1000, keep: int = 1000) -> None:
        self.interval = interval
        self.keep = keep

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Cut every history."""
        if (runner.iter + 1) % self.interval:
            return
        scalars = runner.message_hub.log_scalars
        for name, buffer in scalars.items():
            values, counts = buffer.data
            scalars[name] = HistoryBuffer(values[-self.keep :], counts[-self.keep :], max_length=2 * self.keep)


def _mean(values: deque[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def batch_size_of(batch) -> int:
    """Samples of a batch as the loader gives it, dense or packed."""
    if isinstance(batch, dict) and "offsets" in batch:  # packed: points have one row each
        return len(batch["offsets"]) - 1
    values = batch.values() if isinstance(batch, dict) else batch or ()
    return next((len(value) for value in values if hasattr(value, "__len__")), 0)
