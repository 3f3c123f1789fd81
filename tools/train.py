"""Train from a config.

python tools/train.py configs/point_mae/point-mae_small_300e_shapenet55.py
python tools/train.py CONFIG --resume auto --amp bf16 --cfg-options train_cfg.max_epochs=10
torchrun --nproc-per-node 8 tools/train.py CONFIG --launcher pytorch
"""

from __future__ import annotations

import argparse
import sys

from mmengine.config import DictAction

from mae3d.engine.config import load_config
from mae3d.engine.distributed import launch
from mae3d.engine.run import apply_command_line, train
from mae3d.errors import Mae3dError, plain_message


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where to write (default: work_dirs/<config name>)")
    parser.add_argument(
        "--resume", nargs="?", const="auto", help="checkpoint to continue from; 'auto' or no value: the newest"
    )
    parser.add_argument("--amp", nargs="?", const="bf16", choices=["bf16", "fp16"], help="mixed precision")
    parser.add_argument("--compile", action="store_true", help="compile the model")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="less memory, about a third more time")
    parser.add_argument("--seed", type=int, help="seed of everything")
    parser.add_argument("--launcher", choices=launch.LAUNCHERS, default="none", help="how processes were started")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="single config values")
    return parser.parse_args(arguments)


def main() -> None:
    """Run."""
    options = parse()
    try:
        cfg = load_config(options.config, options.cfg_options)
        launch.join(options.launcher)
        apply_command_line(
            cfg,
            work_dir=options.work_dir,
            resume=options.resume,
            amp=options.amp,
            compile=options.compile,
            gradient_checkpointing=options.gradient_checkpointing,
            launcher=options.launcher,
            seed=options.seed,
        )
        train(cfg)
    except Mae3dError as error:
        sys.exit(plain_message(error))
    finally:
        launch.leave()


if __name__ == "__main__":
    main()
