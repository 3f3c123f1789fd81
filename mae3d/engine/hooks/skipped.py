"""Say which samples a run left out because their files are damaged."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.logging import print_log

from mae3d.registry import HOOKS


@HOOKS.register_module()
class SkippedSamplesHook(Hook):
    """Logs the report of data sets with ``on_error="skip"`` after each epoch in which their count grew.

    The count is that of this process and its workers.
    """

    priority = "LOW"

    def __init__(self) -> None:
        self._told: dict[str, int] = {}

    def after_train_epoch(self, runner) -> None:
        """Report on the training data."""
        self._report("train", runner.train_dataloader)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Report on the validation data."""
        self._report("val", runner.val_dataloader)

    def after_test_epoch(self, runner, metrics: dict | None = None) -> None:
        """Report on the test data."""
        self._report("test", runner.test_dataloader)

    def _report(self, phase: str, loader: object) -> None:
        dataset = getattr(loader, "dataset", None)
        count = len(getattr(dataset, "skipped", ()))
        if count > self._told.get(phase, 0):
            self._told[phase] = count
            print_log(f"{phase}: {dataset.skip_report()}", logger="current", level=30)
