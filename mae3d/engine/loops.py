"""Training and evaluation loops: mmengine's, able to continue in the middle of an epoch."""

from __future__ import annotations

from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, TestLoop, ValLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals

from mae3d.engine.features import extract_features
from mae3d.engine.sampling import place, seeded
from mae3d.errors import DataError
from mae3d.registry import LOOPS


def counts_epochs(runner) -> bool:
    """Tell whether a run is counted in epochs; else it is counted in iterations."""
    return not isinstance(runner.train_loop, IterBasedTrainLoop)


class _TrainLoop:
    """What both kinds of training share."""

    def _check_not_empty(self) -> None:
        if len(self.dataloader):
            return
        raise DataError(
            f"train_dataloader gives no batch: {len(self.dataloader.dataset)} samples with batch size "
            f"{self.dataloader.batch_size} and drop_last={self.dataloader.drop_last}; expected at least one full "
            "batch. Use a smaller batch_size or drop_last=False, and check the data folder"
        )

    def _validate_if_due(self, step: int, last: int) -> None:
        if self.runner.val_loop is None or step < self.val_begin:
            return
        if step % self.val_interval == 0 or step == last:
            self.runner.val_loop.run()


@LOOPS.register_module()
class EpochLoop(_TrainLoop, EpochBasedTrainLoop):
    """Epoch-based training that resumes at the exact batch.

    The position inside the epoch is no state of its own: it is the iteration count minus the whole epochs. A
    validation that was due at the checkpoint it resumes from is run first.

    Args:
        runner: The runner.
        dataloader: Config of the training data loader.
        max_epochs: Length of the schedule in epochs.
        val_begin: First epoch (counted from 1) after which to validate.
        val_interval: Validate every so many epochs, and after the last one.
        dynamic_intervals: ``(epoch, interval)`` pairs that change ``val_interval`` during the run.
        extra_epoch: Run one epoch more than the schedule has, as the object-point family's official loops
            (``for epoch in range(0, max_epoch + 1)``) do.
    """

    def __init__(
        self,
        runner,
        dataloader,
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        extra_epoch: bool = False,
    ) -> None:
        super().__init__(
            runner, seeded(dataloader), max_epochs + int(extra_epoch), val_begin, val_interval, dynamic_intervals
        )
        self._check_not_empty()

    def run(self) -> BaseModel:
        """Train to the last epoch, validating when due."""
        self.runner.call_hook("before_train")
        if self._epoch and self._batches_done() == 0:
            self._validate_if_due(self._epoch, self._max_epochs)
        while self._epoch < self._max_epochs and not self.stop_training:
            self.run_epoch()
            self._decide_current_val_interval()
            self._validate_if_due(self._epoch, self._max_epochs)
        self.runner.call_hook("after_train")
        return self.runner.model

    def run_epoch(self) -> None:
        """Run what is left of the current epoch."""
        done = self._batches_done()
        place(self.dataloader, self.runner.seed, self._epoch, done)
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for batch_index, batch in enumerate(self.dataloader, start=done):
            self.run_iter(batch_index, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _batches_done(self) -> int:
        return self._iter - self._epoch * len(self.dataloader)


@LOOPS.register_module()
class IterationLoop(_TrainLoop, IterBasedTrainLoop):
    """Iteration-based training that goes straight to its position on resume, without replaying the data.

    Args:
        runner: The runner.
        dataloader: Config of the training data loader.
        max_iters: Number of iterations.
        val_begin: First iteration after which to validate.
        val_interval: Validate every so many iterations, and after the last one.
        dynamic_intervals: ``(iteration, interval)`` pairs that change ``val_interval`` during the run.
    """

    def __init__(
        self,
        runner,
        dataloader,
        max_iters: int,
        val_begin: int = 1,
        val_interval: int = 1000,
        dynamic_intervals: list[tuple[int, int]] | None = None,
    ) -> None:
        # The parent's constructor starts the data workers at the first sample, before the position is known.
        BaseLoop.__init__(self, runner, seeded(dataloader))
        self._check_not_empty()
        self._max_iters = int(max_iters)
        self._max_epochs = 1
        self._epoch = 0
        self._iter = 0
        self.val_begin = val_begin
        self.val_interval = val_interval
        self.stop_training = False
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)

    def run(self) -> BaseModel:
        """Train to the last iteration, validating when due."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        if self._iter:
            self._validate_if_due(self._iter, self._max_iters)
        while not self._finished():
            self._run_pass()
        self.runner.call_hook("after_train_epoch")
        self.runner.call_hook("after_train")
        return self.runner.model

    def _run_pass(self) -> None:
        """Run over what is left of the current pass over the data."""
        epoch, done = divmod(self._iter, len(self.dataloader))
        place(self.dataloader, self.runner.seed, epoch, done)
        for batch in self.dataloader:
            self.runner.model.train()
            self.run_iter(batch)
            self._decide_current_val_interval()
            self._validate_if_due(self._iter, self._max_iters)
            if self._finished():
                return

    def _finished(self) -> bool:
        return self._iter >= self._max_iters or self.stop_training


@LOOPS.register_module()
class ValidationLoop(ValLoop):
    """mmengine's validation loop over seeded samples: the same draws at every validation."""

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False) -> None:
        super().__init__(runner, seeded(dataloader), evaluator, fp16)


@LOOPS.register_module()
class EvaluationLoop(TestLoop):
    """mmengine's test loop over seeded samples."""

    def __init__(self, runner, dataloader, evaluator, fp16: bool = False) -> None:
        super().__init__(runner, seeded(dataloader), evaluator, fp16)


@LOOPS.register_module()
class ProbeLoop(EvaluationLoop):
    """Fit the evaluator's probe to frozen features of training clouds, then judge it on the test clouds.

    Args:
        runner: The runner.
        dataloader: Config of the loader of the test clouds.
        evaluator: Metrics that have ``fit(features, labels)``, such as `SvmAccuracy`.
        train_dataloader: Config of the loader of the clouds that the probe is fitted to.
        fp16: As in mmengine.
    """

    def __init__(self, runner, dataloader, evaluator, train_dataloader: dict, fp16: bool = False) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.train_dataloader = runner.build_dataloader(seeded(train_dataloader), seed=runner.seed)

    def run(self) -> dict[str, float]:
        """Return the metrics."""
        model = getattr(self.runner.model, "module", self.runner.model)
        features, labels = extract_features(model, self.train_dataloader)
        for metric in self.evaluator.metrics:
            metric.fit(features, labels)
        return super().run()
