"""Evaluate a checkpoint.

    python tools/test.py configs/point_mae/point-mae_small_300e_modelnet40-1k.py RUN/best_accuracy_epoch_271.pth

Prints the metrics of the checkpoint on the test split. Where the checkpoint belongs to a run that validated, its record
follows: the best epoch (selected on test, as the papers report it) and the last one (nothing selected on test).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import DictAction

from mae3d.engine.config import load_config
from mae3d.engine.distributed import launch
from mae3d.engine.run import apply_command_line, recorded_metrics, test
from mae3d.errors import CheckpointError, Mae3dError, plain_message


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", type=Path, help=".pth or .safetensors file")
    parser.add_argument("--work-dir", help="where to write (default: work_dirs/<config name>)")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics")
    parser.add_argument("--launcher", choices=launch.LAUNCHERS, default="none", help="how processes were started")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="single config values")
    return parser.parse_args(arguments)


def main() -> None:
    """Run."""
    options = parse()
    try:
        if not options.checkpoint.is_file():
            raise CheckpointError(f"no checkpoint at {options.checkpoint}; expected a .pth or .safetensors file")
        cfg = load_config(options.config, options.cfg_options)
        launch.join(options.launcher)
        apply_command_line(cfg, work_dir=options.work_dir, launcher=options.launcher)
        cfg.load_from = str(options.checkpoint)
        record = recorded_metrics(options.checkpoint, cfg)
        metrics = test(cfg)
    except Mae3dError as error:
        sys.exit(plain_message(error))
    finally:
        launch.leave()
    print(f"{options.checkpoint}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    if record is not None:
        print(f"its run: {record['text']}")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps({"metrics": metrics, "run": record}, indent=2))


if __name__ == "__main__":
    main()
