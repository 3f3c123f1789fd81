"""From a config to a run: what the command line changes, and the runner that follows."""

from __future__ import annotations

import json
from copy import deepcopy
from inspect import signature
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.runner import FlexibleRunner, Runner
from torch import nn

from mae3d.engine.config import override, resolve, validate
from mae3d.engine.distributed import launch
from mae3d.engine.hooks.compile import CompileHook
from mae3d.engine.hooks.record import MetricRecordHook, summarise
from mae3d.engine.optim.scaling import scale_learning_rate
from mae3d.engine.storage import find_checkpoint, load_from_mae3d
from mae3d.errors import CheckpointError, ConfigError

_TEST_HOOKS = ("runtime_info", "seed", "timer", "logger", "skipped")


def train(cfg: Config) -> Runner | FlexibleRunner:
    """Run the training that a config describes and return the runner.

    Raises:
        ConfigError: The config only evaluates.
    """
    if cfg.get("train_dataloader") is None or cfg.get("train_cfg") is None:
        raise ConfigError(f"{cfg.filename} has no train_dataloader and train_cfg; evaluate with it: tools/test.py")
    runner = build_runner(cfg)
    runner.train()
    return runner


def test(cfg: Config) -> dict[str, float]:
    """Evaluate ``cfg.load_from`` on the test split and return the metrics.

    Raises:
        ConfigError: The config has no test split.
        CheckpointError: The file lacks weights of the model.
    """
    return build_test_runner(cfg).test()


def build_test_runner(cfg: Config) -> Runner | FlexibleRunner:
    """The runner of :func:`test`, before it runs; the config loses what belongs to training."""
    if cfg.get("test_dataloader") is None or cfg.get("test_evaluator") is None:
        raise ConfigError(f"{cfg.filename} has no test_dataloader and test_evaluator; a pre-training run is not tested")
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler"):
        cfg[key] = None
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    cfg.default_hooks = {name: hook for name, hook in cfg.default_hooks.items() if name in _TEST_HOOKS}
    for name in ("param_scheduler", "checkpoint", "sampler_seed"):  # mmengine would add its own
        cfg.default_hooks[name] = None
    cfg.custom_hooks = []
    runner = build_runner(cfg)
    _check_complete(runner.model, cfg.load_from)
    return runner


def choose_test_split(cfg: Config, split: str | None, submission: str | None) -> None:
    """Write ``--split`` and ``--submission`` of ``tools/test.py`` into a config, in place.

    Raises:
        ConfigError: The config's data set has no splits, or its metric writes no submission.
    """
    evaluator = cfg.get("test_evaluator")
    if cfg.get("test_dataloader") is None or evaluator is None:
        raise ConfigError(f"{cfg.filename} has no test_dataloader and test_evaluator; a pre-training run is not tested")
    values = {}
    if split is not None:
        values["test_dataloader.dataset.split"] = split
        if "dataset" in evaluator:
            values["test_evaluator.dataset.split"] = split
    if submission is not None:
        if "submission" not in signature(resolve(evaluator["type"], "metrics")).parameters:
            raise ConfigError(f"{evaluator['type']} writes no submission; only the metrics of detection do")
        values["test_evaluator.submission"] = submission
    # Both are often one object with those of validation, which may not change with them.
    cfg.test_dataloader, cfg.test_evaluator = deepcopy(cfg.test_dataloader), deepcopy(evaluator)
    override(cfg, values)


def _check_complete(model: nn.Module, path: str) -> None:
    """Refuse a file that would leave weights of the model as they were drawn."""
    weights = load_from_mae3d(path, "cpu")
    names = {name.removeprefix("module.") for name in weights.get("state_dict", weights)}
    missing = sorted(getattr(model, "module", model).state_dict().keys() - names)
    if missing:
        raise CheckpointError(
            f"{path} lacks {len(missing)} tensors of {type(model).__name__}: {', '.join(missing[:4])}, ...; it holds "
            f"{', '.join(sorted(names)[:4])}, ... Give the checkpoint of this config's own run, or convert the file "
            "with tools/convert_checkpoint.py"
        )


def recorded_metrics(checkpoint: Path, cfg: Config) -> dict | None:
    """Return the summary of the validations that a checkpoint's run has recorded so far, None where there are none.

    ``metrics.json`` beside the checkpoint is the whole run's; the checkpoint itself knows the time before it was
    written.
    """
    whole_run = checkpoint.parent / "metrics.json"
    if whole_run.is_file():
        return json.loads(whole_run.read_text())
    history = load_from_mae3d(str(checkpoint), "cpu").get("hooks", {}).get("MetricRecordHook", {}).get("history")
    if not history:
        return None
    options = _find_hook(cfg, MetricRecordHook) or {}
    return summarise(history, **{key: options[key] for key in ("metric", "rule", "split") if key in options})


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """Build mmengine's runner: the flexible one where the config has a ``strategy``, else the plain one."""
    if cfg.get("optim_wrapper") is not None:
        scale_learning_rate(cfg, launch.world_size())
    if cfg.get("strategy") is not None:
        _refuse_averaging(cfg)
        # The flexible runner builds its strategy before mmengine knows this package's registries.
        kind = resolve(cfg.strategy["type"], "strategy.type")
        cfg.strategy["type"] = f"{kind.__module__}.{kind.__qualname__}"
        return FlexibleRunner.from_cfg(cfg)
    _wrap_for_device(cfg)
    return Runner.from_cfg(cfg)


def apply_command_line(
    cfg: Config,
    *,
    work_dir: str | None = None,
    resume: str | None = None,
    amp: str | None = None,
    compile: bool = False,
    gradient_checkpointing: bool = False,
    launcher: str = "none",
    seed: int | None = None,
) -> None:
    """Write the options of ``tools/train.py`` into a config, in place.

    Args:
        cfg: The config.
        work_dir: Where the run writes; default ``work_dirs/<config name>``.
        resume: ``auto`` for the newest readable checkpoint of the work directory, or a file.
        amp: ``bf16`` or ``fp16``.
        compile: Compile the model (the config's ``compile_targets``, or all of it).
        gradient_checkpointing: Recompute transformer blocks in the backward pass (the model's switch of that name).
        launcher: How the processes were started.
        seed: Seed of everything; None keeps the config's.

    Raises:
        ConfigError: The file to resume from is absent, or the model has no such switch.
    """
    cfg.launcher = launcher
    cfg.work_dir = str(work_dir or cfg.get("work_dir") or Path("work_dirs") / Path(cfg.filename).stem)
    if seed is not None:
        cfg.randomness = {**cfg.get("randomness", {}), "seed": seed}
    if amp is not None:
        cfg.optim_wrapper.precision = amp
    if gradient_checkpointing:
        override(cfg, {"model.gradient_checkpointing": True})
    hooks = list(cfg.get("custom_hooks") or [])
    if compile:
        hooks.append({"type": CompileHook.__name__, "targets": cfg.get("compile_targets", [])})
    cfg.custom_hooks = hooks
    validate(cfg)
    if resume is not None:
        _resume(cfg, resume)


def _resume(cfg: Config, resume: str) -> None:
    path = find_checkpoint(cfg.work_dir) if resume == "auto" else Path(resume)
    if path is None:
        print_log(f"nothing to resume in {cfg.work_dir}: starting from the beginning", logger="current")
        return
    if not path.is_file():
        raise ConfigError(f"--resume {path}: no such file; give a checkpoint, or 'auto' for the newest of the work dir")
    cfg.resume = True
    cfg.load_from = str(path)


def _find_hook(cfg: Config, kind: type) -> dict | None:
    """Return the config of a hook of a class, wherever it stands."""
    hooks = [*(cfg.get("custom_hooks") or []), *(cfg.get("default_hooks") or {}).values()]
    return next((hook for hook in hooks if hook and resolve(hook["type"], "hooks") is kind), None)


def _refuse_averaging(cfg: Config) -> None:
    if _find_hook(cfg, EMAHook):
        raise ConfigError("strategy: EMAHook copies the whole model and does not work on shards; use DDP or drop it")


def _wrap_for_device(cfg: Config) -> None:
    """Choose DDP's arguments; mmengine's default asks for a GPU per process."""
    if launch.world_size() == 1 and cfg.get("launcher", "none") == "none":
        return
    if not torch.cuda.is_available():
        cfg.sync_bn = None
    if cfg.get("model_wrapper_cfg") is None and not torch.cuda.is_available():
        cfg.model_wrapper_cfg = {
            "type": "MMDistributedDataParallel",
            "device_ids": None,
            "broadcast_buffers": False,
            "find_unused_parameters": cfg.get("find_unused_parameters", False),
        }
