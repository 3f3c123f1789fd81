"""Evaluate a checkpoint.

    python tools/test.py configs/point_mae/point-mae_small_300e_modelnet40-1k.py RUN/best_accuracy_epoch_271.pth
    python tools/test.py configs/detection/second_voxel005_80e_kitti.py RUN/epoch_80.pth --submission results/
    python tools/test.py DETECTION_CONFIG CHECKPOINT --split test --submission results.json
    python tools/test.py DETECTION_CONFIG CHECKPOINT --sensing-budget 0 0.5 0.8 --out budget.md

Prints the metrics of the checkpoint on the test split. Where the checkpoint belongs to a run that validated, its record
follows: the best epoch (selected on test, as the papers report it) and the last one (nothing selected on test).

--submission writes the detections as the benchmark takes them: nuScenes a .json file, KITTI a folder of text files,
Waymo a .bin file of its Objects message, ONCE a .json or .pkl file. A split without annotations is not scored.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mmengine.config import Config, DictAction

from mae3d.engine.config import load_config
from mae3d.engine.distributed import launch
from mae3d.engine.run import apply_command_line, choose_test_split, recorded_metrics, test
from mae3d.engine.sensing_budget import budget_table, sensing_budget
from mae3d.engine.storage import make_folder
from mae3d.errors import CheckpointError, Mae3dError, plain_message


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", type=Path, help=".pth or .safetensors file")
    parser.add_argument("--work-dir", help="where to write (default: work_dirs/<config name>)")
    parser.add_argument("--out", type=Path, help="JSON file for the metrics, or Markdown file for the sensing budget")
    parser.add_argument("--split", help="another split of the test data set")
    parser.add_argument("--submission", help="file or folder for the detections in the benchmark's own form")
    budget = parser.add_argument_group("sensing on a budget: the scanner leaves random sectors out")
    budget.add_argument("--sensing-budget", nargs="+", type=float, metavar="RATIO", help="shares of skipped sectors")
    budget.add_argument("--sector-degrees", type=float, default=1.0, help="width of a sector")
    budget.add_argument("--near-reach", type=float, default=0.0, help="range of low-power pulses in skipped ones, m")
    budget.add_argument("--budget-metrics", nargs="+", metavar="NAME", help="columns of the table (default: the first)")
    parser.add_argument("--launcher", choices=launch.LAUNCHERS, default="none", help="how processes were started")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="single config values")
    return parser.parse_args(arguments)


def main() -> None:
    """Run."""
    options = parse()
    try:
        if not options.checkpoint.is_file():
            raise CheckpointError(f"no checkpoint at {options.checkpoint}; expected a .pth or .safetensors file")
        if options.out is not None:
            make_folder(options.out.parent, "--out")
        cfg = load_config(options.config, options.cfg_options)
        launch.join(options.launcher)
        if options.split is not None or options.submission is not None:
            choose_test_split(cfg, options.split, options.submission)
        apply_command_line(cfg, work_dir=options.work_dir, launcher=options.launcher)
        cfg.load_from = str(options.checkpoint)
        text = run_budget(cfg, options) if options.sensing_budget else run_test(cfg, options)
    except Mae3dError as error:
        sys.exit(plain_message(error))
    finally:
        launch.leave()
    print(text)


def run_test(cfg: Config, options: argparse.Namespace) -> str:
    """One test; what is to be printed."""
    record = recorded_metrics(options.checkpoint, cfg)
    metrics = test(cfg)
    if options.out is not None:
        options.out.write_text(json.dumps({"metrics": metrics, "run": record}, indent=2))
    text = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()) or "not scored: no annotations"
    return f"{options.checkpoint}: {text}" + ("" if record is None else f"\nits run: {record['text']}")


def run_budget(cfg: Config, options: argparse.Namespace) -> str:
    """One test for each share of skipped sectors; the table."""
    rows = sensing_budget(
        cfg, options.sensing_budget, sector_degrees=options.sector_degrees, near_reach=options.near_reach
    )
    table = budget_table(rows, options.budget_metrics)
    if options.out is not None:
        options.out.write_text(table)
    return table


if __name__ == "__main__":
    main()
