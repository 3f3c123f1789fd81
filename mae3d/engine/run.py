"""From a config to a run: what the command line changes, and the runner that follows."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import FlexibleRunner, Runner

from mae3d.engine.distributed import launch
from mae3d.engine.hooks.compile import CompileHook, GradientCheckpointingHook
from mae3d.engine.optim.scaling import scale_learning_rate
from mae3d.engine.storage import find_checkpoint
from mae3d.errors import ConfigError


def train(cfg: Config) -> Runner | FlexibleRunner:
    """Run the training that a config describes and return the runner."""
    runner = build_runner(cfg)
    runner.train()
    return runner


def test(cfg: Config) -> dict[str, float]:
    """Evaluate ``cfg.load_from`` on the test split and return the metrics."""
    for key in ("train_dataloader", "train_cfg", "optim_wrapper", "param_scheduler", "custom_hooks"):
        cfg[key] = None
    for key in ("val_dataloader", "val_cfg", "val_evaluator"):
        cfg[key] = None
    return build_runner(cfg).test()


def build_runner(cfg: Config) -> Runner | FlexibleRunner:
    """Build mmengine's runner: the flexible one where the config has a ``strategy``, else the plain one."""
    if cfg.get("optim_wrapper") is not None:
        scale_learning_rate(cfg, launch.world_size())
    if cfg.get("strategy") is not None:
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
        launcher: How the processes were started.
        seed: Seed of everything; None keeps the config's.

    Raises:
        ConfigError: The file to resume from is absent.
    """
    cfg.launcher = launcher
    cfg.work_dir = str(work_dir or cfg.get("work_dir") or Path("work_dirs") / Path(cfg.filename).stem)
    if seed is not None:
        cfg.randomness = {**cfg.get("randomness", {}), "seed": seed}
    if amp is not None:
        cfg.optim_wrapper.precision = amp
    hooks = list(cfg.get("custom_hooks") or [])
    if compile:
        hooks.append({"type": CompileHook, "targets": cfg.get("compile_targets", [])})
    if cfg.get("gradient_checkpointing"):
        hooks.append({"type": GradientCheckpointingHook, "targets": cfg.gradient_checkpointing})
    cfg.custom_hooks = hooks
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
