"""One run per fold, and the figure over all of them."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mae3d.engine.config import load_config
from mae3d.engine.run import apply_command_line, train
from mae3d.errors import ConfigError
from mae3d.evaluation import FewShotSummary

LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")


def run_folds(
    config: str | Path, folds: Iterable[int], work_dir: Path, options: dict[str, Any] | None = None, **command_line: Any
) -> dict[int, dict[str, Any]]:
    """Train every fold of a few-shot config in ``work_dir/fold_<k>`` and return the summaries of their metrics.

    A finished fold is read and not run again; an interrupted one is continued.

    Args:
        config: A config whose data sets have a ``fold``, and which has a `MetricRecordHook`.
        folds: Numbers of the folds.
        work_dir: Folder of all runs.
        options: Config values by dotted path, as of ``--cfg-options``.
        **command_line: See :func:`mae3d.engine.run.apply_command_line`.

    Raises:
        ConfigError: The data sets have no folds, or the run records no metrics.
    """
    return {fold: _run_fold(config, fold, work_dir / f"fold_{fold}", options, command_line) for fold in folds}


def _run_fold(
    config: str | Path, fold: int, folder: Path, options: dict[str, Any] | None, command_line: dict[str, Any]
) -> dict[str, Any]:
    record = folder / "metrics.json"
    if not record.is_file():
        cfg = _config_of_fold(config, fold, options)
        apply_command_line(cfg, work_dir=str(folder), resume="auto", **command_line)
        train(cfg)
        gc.collect()  # ends the data workers of this fold before those of the next one start
    if not record.is_file():
        raise ConfigError(
            f"{config}: the run of fold {fold} recorded no metrics; add a MetricRecordHook and validation"
        )
    return json.loads(record.read_text())


def _config_of_fold(config: str | Path, fold: int, options: dict[str, Any] | None) -> Config:
    cfg = load_config(config, options)
    for name in LOADERS:
        if "fold" not in cfg[name].dataset:
            raise ConfigError(f"{config}: {name}.dataset has no fold; expected a few-shot config")
        cfg[name].dataset.fold = fold
    cfg.experiment_name = f"{Path(config).stem}_fold_{fold}"
    return cfg


def summarise_folds(records: dict[int, dict[str, Any]]) -> str:
    """Text with mean and deviation over the folds of the best epoch (as published) and of the last one."""
    wording = {"best": "best epoch of each fold, selected on test as published", "last": "last epoch, nothing selected"}
    lines = []
    for kind, meaning in wording.items():
        summary = FewShotSummary()
        for fold, record in records.items():
            summary.process(fold, record[kind]["value"])
        result = summary.compute()
        lines.append(f"{kind}: {100 * result['mean']:.1f} +- {100 * result['std']:.1f} ({meaning})")
    return "\n".join([f"{len(records)} folds, {next(iter(records.values()))['metric']} in percent", *lines])
