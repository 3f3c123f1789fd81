"""Stop at the first loss that is no number, and say which loss and which samples."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.hooks import Hook

from mae3d.engine.storage import write_atomically
from mae3d.errors import NonFiniteLossError
from mae3d.registry import HOOKS


@dataclass(frozen=True)
class _Check:
    """Losses of one iteration on their way to the host."""

    iteration: int
    names: list[str]
    values: torch.Tensor
    indices: list[int]
    ready: torch.cuda.Event | None


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Raise `NonFiniteLossError` when a loss term is NaN or infinite.

    On a GPU the losses travel to the host while the next iteration runs, so the error comes one iteration late and
    nothing waits; no checkpoint is written before all losses were looked at. The batch is written to
    ``nonfinite_iter_<n>.json``: indices and names of its samples, every loss, seed and rank, which together replay it.
    """

    priority = "HIGH"

    def __init__(self) -> None:
        self._pending: _Check | None = None

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Look at the previous losses and send these on their way."""
        self._look(runner)
        losses = {name: value for name, value in (outputs or {}).items() if "loss" in name}
        if losses:
            self._pending = _send(runner.iter, losses, data_batch)
            if self._pending.ready is None:
                self._look(runner)

    def before_collect_checkpoint(self, runner) -> None:
        """Never let a checkpoint hold the result of an unseen loss."""
        self._look(runner)

    def after_train(self, runner) -> None:
        """Look at the last iteration's losses."""
        self._look(runner)

    def _look(self, runner) -> None:
        check, self._pending = self._pending, None
        if check is None:
            return
        if check.ready is not None:
            check.ready.synchronize()
        values = dict(zip(check.names, check.values.tolist()))
        bad = [name for name, value in values.items() if not torch.tensor(value).isfinite()]
        if bad:
            raise NonFiniteLossError(_report(runner, check, values, bad))


def _send(iteration: int, losses: dict[str, torch.Tensor], batch) -> _Check:
    values = torch.stack([torch.as_tensor(value).detach().double().mean() for value in losses.values()])
    ready = None
    if values.is_cuda:
        values = torch.empty(len(losses), dtype=torch.float64, pin_memory=True).copy_(values, non_blocking=True)
        ready = torch.cuda.Event()
        ready.record()
    indices = batch.get("index") if isinstance(batch, dict) else None
    return _Check(iteration, list(losses), values, [] if indices is None else torch.as_tensor(indices).tolist(), ready)


def _report(runner, check: _Check, values: dict[str, float], bad: list[str]) -> str:
    dataset = runner.train_dataloader.dataset
    name_of = getattr(dataset, "sample_name", str)
    samples = [str(name_of(index)) for index in check.indices]
    path = Path(runner.work_dir) / f"nonfinite_iter_{check.iteration}.json"
    content = {
        "iteration": check.iteration,
        "losses": {name: str(value) for name, value in values.items()},
        "indices": check.indices,
        "samples": samples,
        "seed": runner.seed,
        "rank": runner.rank,
    }
    write_atomically(path, json.dumps(content, indent=2).encode())
    shown = ", ".join(samples[:4]) + (f", ... ({len(samples)} in all)" if len(samples) > 4 else "")
    # The sum is bad whenever a term is: name the terms, and the sum only where it is alone.
    terms = [name for name in bad if name != "loss"] or bad
    return (
        f"{', '.join(f'{name} = {values[name]}' for name in terms)} at iteration {check.iteration}; the batch: "
        f"{shown or 'unknown (the data set gives no index)'}; details in {path}. The weights are spoilt: check these "
        "samples, lower the learning rate, clip gradients or use fp32, and resume from the last checkpoint"
    )
