"""Check a data set on disk, build its caches, or write simulated data in its layout.

    python tools/prepare_data.py shapenet55 --root data/ShapeNet55-34
    python tools/prepare_data.py shapenet_feat --root data/ShapeNetFeat
    python tools/prepare_data.py shapenet15k --root data/ShapeNetCore.v2.PC15k
    python tools/prepare_data.py modelnet40 --root data/ModelNet/modelnet40_normal_resampled --workers 8
    python tools/prepare_data.py modelnet40_hdf5 --root data/modelnet40_ply_hdf5_2048
    python tools/prepare_data.py scanobjectnn --root data/ScanObjectNN
    python tools/prepare_data.py shapenetpart --root data/shapenetcore_partanno_segmentation_benchmark_v0_normal
    python tools/prepare_data.py fewshot --root data/ModelNetFewshot --modelnet <modelnet40_normal_resampled>
    python tools/prepare_data.py p3p --images data/ImageNet/train --depth depth-anything
    python tools/prepare_data.py simulated-objects --root data --layouts shapenet55 modelnet40 --count 2000
    python tools/prepare_data.py nuscenes --root data/nuscenes --workers 8
    python tools/prepare_data.py nuscenes --root data/nuscenes --infos nuscenes_infos_train.pkl --splits train
    python tools/prepare_data.py nuscenes --root data/nuscenes --mmdet3d-infos
    python tools/prepare_data.py kitti --root data/kitti --ground-truth-database
    python tools/prepare_data.py once --root data/once --splits train val raw_small
    python tools/prepare_data.py waymo --root data/waymo --raw
    python tools/prepare_data.py argoverse2 --root data/argoverse2
    python tools/prepare_data.py semantickitti --root data/semantickitti/dataset
    python tools/prepare_data.py simulated-drives --root data --layouts nuscenes kitti once --scenes 8 2
    python tools/prepare_data.py text --root data/wikipedia --documents data/wikipedia/documents --block-length 510
    python tools/prepare_data.py text --root data/own --documents data/own.jsonl --train-vocabulary 8000
    python tools/prepare_data.py sts --root data/sts --pairs data/stsb_en_train.csv --train-vocabulary 2000

Exits with 1 where something is missing or damaged. An interrupted build goes on where it stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from preparation import drives, lifted_images, objects, simulated_objects, text  # noqa: E402  (beside this file)

from mae3d.errors import Mae3dError  # noqa: E402

KINDS = (objects, lifted_images, simulated_objects, drives, text)
COMMANDS = {name: command for kind in KINDS for name, command in kind.COMMANDS.items()}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line of this tool."""
    description, _, epilog = (__doc__ or "").partition("\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=epilog, formatter_class=form)
    names = parser.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    for name, command in COMMANDS.items():
        about = command.run.__doc__
        one = names.add_parser(name, help=about, description=about)
        one.add_argument(*command.place, dest="root", type=Path, required=True, help="folder of the data set")
        one.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
        one.add_argument("--seed", type=int, default=0, help="seed of caches, folds and simulations")
        if command.reads:
            one.add_argument("--check-only", action="store_true", help="build nothing")
            one.add_argument("--deep", action="store_true", help="load every sample")
        command.add_arguments(one)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(arguments)
    try:
        report = COMMANDS[args.dataset].run(args)
    except Mae3dError as error:
        print(f"prepare_data: {error}", file=sys.stderr)
        return 1
    print(report)
    if report.problems:
        print(f"{len(report.problems)} problem(s). The layouts are in docs/data.md.", file=sys.stderr)
        return 1
    print("ready")
    return 0


if __name__ == "__main__":
    sys.exit(main())
