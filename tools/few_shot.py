"""Train and judge all folds of a few-shot setting; print mean and deviation over the folds.

    python tools/few_shot.py configs/point_mae/point-mae_small_150e_modelnet40-5way10shot.py
    python tools/few_shot.py CONFIG --folds 0 1 2 --work-dir DIR --amp bf16

Every fold is a run of its own under the work directory. A finished fold is not run again, an interrupted one goes on
where it stopped. Two figures are printed: the best epoch of each fold on its test clouds, as the papers report, and the
last epoch, which nothing was selected for.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

from mae3d.engine.folds import run_folds, summarise_folds
from mae3d.errors import Mae3dError, plain_message


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="few-shot config file")
    parser.add_argument("--folds", type=int, nargs="+", default=range(10), help="default: 0 to 9")
    parser.add_argument("--work-dir", type=Path, help="where to write (default: work_dirs/<config name>)")
    parser.add_argument("--amp", nargs="?", const="bf16", choices=["bf16", "fp16"], help="mixed precision")
    parser.add_argument("--seed", type=int, help="seed of every fold's run")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="single config values")
    return parser.parse_args(arguments)


def main() -> None:
    """Run the folds."""
    options = parse()
    folder = options.work_dir or Path("work_dirs") / options.config.stem
    try:
        records = run_folds(
            options.config, options.folds, folder, options.cfg_options, amp=options.amp, seed=options.seed
        )
    except Mae3dError as error:
        sys.exit(plain_message(error))
    for fold, record in records.items():
        print(f"fold {fold}: best {100 * record['best']['value']:.1f}, last {100 * record['last']['value']:.1f}")
    print(summarise_folds(records))


if __name__ == "__main__":
    main()
