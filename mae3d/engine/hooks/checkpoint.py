"""Write checkpoints: atomic, loadable with ``weights_only=True``, enough for an exact resume."""

from __future__ import annotations

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.logging import print_log

from mae3d.engine.hooks.stateful import StatefulHook
from mae3d.engine.storage import ATOMIC, point_to
from mae3d.errors import CheckpointError, ConfigError
from mae3d.registry import HOOKS

_NO_MESSAGES = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}


@HOOKS.register_module()
class AtomicCheckpointHook(StatefulHook):
    """Save the whole training state, keep the newest and the best.

    ``epoch_<n>.pth`` is written after whole epochs, ``iter_<n>.pth`` in between; both resume exactly. Files of the
    best metrics, ``best_<metric>_<epoch or iter>_<n>.pth``, hold weights without optimizer state. A new file is on
    disk before an old one is removed, and ``last_checkpoint`` always names a whole file.

    Args:
        interval: Save every so many epochs (``by_epoch``) or iterations; 0 saves at the end only.
        by_epoch: Unit of ``interval``.
        iterations: With ``by_epoch``, save every so many iterations as well.
        max_keep: Newest files to keep; 0 keeps all.
        keep_every: Files of these epochs (multiples) are never removed; 0 for none.
        keep_from: First epoch that ``keep_every`` applies to.
        save_best: Name of the metric that selects the best files; None for none.
        rule: ``greater`` or ``less`` is better.
        best_k: Number of best files to keep.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        iterations: int = 0,
        max_keep: int = 2,
        keep_every: int = 0,
        keep_from: int = 0,
        save_best: str | None = None,
        rule: str = "greater",
        best_k: int = 1,
    ) -> None:
        if rule not in ("greater", "less"):
            raise ConfigError(f"AtomicCheckpointHook: rule={rule!r}, expected 'greater' or 'less'")
        self.interval = interval
        self.by_epoch = by_epoch
        self.iterations = iterations if by_epoch else interval
        self.max_keep = max_keep
        self.keep_every = keep_every
        self.keep_from = keep_from
        self.save_best = save_best
        self.sign = 1 if rule == "greater" else -1
        self.best_k = best_k
        self.kept: list[str] = []
        self.best: list[tuple[float, str]] = []
        self._position: dict[str, int] = {}

    def state_dict(self) -> dict:
        """Return the files this run keeps."""
        return {"kept": self.kept, "best": self.best}

    def load_state_dict(self, state: dict) -> None:
        """Continue the list of files."""
        self.kept = list(state["kept"])
        self.best = [(score, name) for score, name in state["best"]]

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Drop the log history, the one entry that only unpickles unsafely and grows without bound."""
        super().before_save_checkpoint(runner, checkpoint)
        checkpoint["message_hub"] = _NO_MESSAGES
        checkpoint["meta"].update(self._position, batches_per_epoch=len(runner.train_dataloader))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Restore the list of files and check that the position still has a meaning."""
        super().after_load_checkpoint(runner, checkpoint)
        if runner._resume and self.by_epoch:
            _fit_position(checkpoint["meta"], len(runner.train_dataloader))

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save between epochs where that is asked for."""
        end_of_epoch = self.by_epoch and batch_idx + 1 == len(runner.train_dataloader)
        last = not self.by_epoch and runner.iter + 1 == runner.max_iters
        due = self.iterations and (runner.iter + 1) % self.iterations == 0
        if last or (due and not end_of_epoch):
            self.save_iteration(runner)

    def after_train_epoch(self, runner) -> None:
        """Save whole epochs."""
        epoch = runner.epoch + 1
        due = self.interval and epoch % self.interval == 0
        if self.by_epoch and (due or epoch == runner.max_epochs):
            permanent = self.keep_every and epoch >= self.keep_from and epoch % self.keep_every == 0
            self._save(runner, f"epoch_{epoch}.pth", epoch, runner.iter, permanent)

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        """Keep the weights of the best metrics."""
        if self.save_best is None:
            return
        if not metrics or self.save_best not in metrics:
            raise ConfigError(
                f"AtomicCheckpointHook: save_best={self.save_best!r} is not among the metrics {sorted(metrics or {})}"
            )
        step, unit = (runner.epoch, "epoch") if self.by_epoch else (runner.iter, "iter")
        name = f"best_{self.save_best.replace('/', '_')}_{unit}_{step}.pth"
        self._save_best(runner, float(metrics[self.save_best]), name)

    def save_iteration(self, runner) -> Path:
        """Save after the current iteration (called inside ``after_train_iter``) and return the file."""
        iteration = runner.iter + 1
        return self._save(runner, f"iter_{iteration}.pth", runner.epoch, iteration)

    def _save(self, runner, name: str, epoch: int, iteration: int, permanent: bool = False) -> Path:
        runner.call_hook("before_collect_checkpoint")
        if not permanent:
            self.kept = [*(file for file in self.kept if file != name), name]
        outdated = self.kept[: -self.max_keep] if self.max_keep else []
        self.kept = self.kept[len(outdated) :]
        path = self._write(runner, name, epoch, iteration, save_optimizer=True)
        if is_main_process():
            point_to(path)
            _remove(path.parent, outdated)
        print_log(f"saved {path}", logger="current")
        return path

    def _save_best(self, runner, score: float, name: str) -> None:
        others = [entry for entry in self.best if entry[1] != name]
        ranked = sorted([*others, (score, name)], key=lambda entry: -self.sign * entry[0])
        self.best, dropped = ranked[: self.best_k], ranked[self.best_k :]
        if (score, name) not in self.best:
            return
        path = self._write(runner, name, runner.epoch, runner.iter, save_optimizer=False)
        if is_main_process():
            _remove(path.parent, [file for _, file in dropped])
        print_log(f"saved {path}: {self.save_best} = {score:.4f}", logger="current")

    def _write(self, runner, name: str, epoch: int, iteration: int, save_optimizer: bool) -> Path:
        self._position = {"epoch": epoch, "iter": iteration}
        runner.save_checkpoint(
            runner.work_dir,
            name,
            save_optimizer=save_optimizer,
            save_param_scheduler=save_optimizer and runner.param_schedulers is not None,
            backend_args=ATOMIC,
        )
        return Path(runner.work_dir) / name


def _remove(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).unlink(missing_ok=True)


def _fit_position(meta: dict, batches: int) -> None:
    """Translate the position to the current number of batches in an epoch, or refuse."""
    before = meta.get("batches_per_epoch", batches)
    if before == batches:
        return
    if meta["iter"] != meta["epoch"] * before:
        raise CheckpointError(
            f"the checkpoint lies inside epoch {meta['epoch']} (iteration {meta['iter']} of {before} an epoch) "
            f"but an epoch has {batches} batches now; resume with the batch size, number of processes and data set "
            "of the first run, or from an epoch_<n>.pth file"
        )
    meta["iter"] = meta["epoch"] * batches
    print_log(f"an epoch has {batches} batches now, it had {before}: iteration set to {meta['iter']}", logger="current")
