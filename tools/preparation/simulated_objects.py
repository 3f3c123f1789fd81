"""Simulated objects in the layouts of the object data sets."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial

from mae3d.datasets.layout_report import LayoutReport
from mae3d.datasets.parallel import ProgressLine
from mae3d.datasets.simulators.objects import layouts, scans
from preparation.command import Command
from preparation.objects import (
    add_fewshot_arguments,
    build_fewshot_folds,
    build_modelnet_caches,
    build_shapenet_variations,
    measure_categories,
)

LAYOUTS = {
    "shapenet55": "ShapeNet55-34",
    "shapenet_feat": "ShapeNetFeat",
    "shapenet15k": "ShapeNetCore.v2.PC15k",
    "modelnet40": "ModelNet/modelnet40_normal_resampled",
    "modelnet40_hdf5": "modelnet40_ply_hdf5_2048",
    "scanobjectnn": "ScanObjectNN",
    "shapenetpart": "shapenetcore_partanno_segmentation_benchmark_v0_normal",
    "fewshot": "ModelNetFewshot",
}
"""Data set -> its folder below the data root, as the published configs name them."""


def prepare_simulated(args: Namespace) -> LayoutReport:
    """Write simulated objects in the wanted layouts."""
    report = LayoutReport(args.root)
    chosen = [name for name in LAYOUTS if name in args.layouts]
    for name in chosen:
        root = args.root / LAYOUTS[name]
        common = {"seed": args.seed, "workers": args.workers, "progress": ProgressLine(name)}
        points = {} if args.points is None else {"points": args.points}
        if name == "fewshot":
            build_fewshot_folds(args, args.root / LAYOUTS["modelnet40"], root)
        elif name == "scanobjectnn":
            scans.write_scanobjectnn(root, args.count, **common)
        elif name == "shapenetpart":
            layouts.write_shapenetpart(root, args.count, **common)
        else:
            write = {
                "shapenet15k": partial(layouts.write_shapenet15k, categories=args.categories),
                "shapenet55": layouts.write_shapenet55,
                "shapenet_feat": layouts.write_shapenet_feat,
                "modelnet40": layouts.write_modelnet40,
                "modelnet40_hdf5": layouts.write_modelnet40_hdf5,
            }[name]
            write(root, args.count, **common, **points)
        if name == "shapenet_feat":
            build_shapenet_variations(args, root)
        if name == "shapenet15k":
            measure_categories(root)
        if name == "modelnet40":
            build_modelnet_caches(args, root)
        report.found.append(f"{name}: {LAYOUTS[name]}")
    return report


def _add_arguments(command: ArgumentParser) -> None:
    add_fewshot_arguments(command)
    command.add_argument("--layouts", nargs="+", choices=list(LAYOUTS), default=["shapenet55", "modelnet40"])
    command.add_argument("--count", type=int, default=1000, help="clouds (scans) of each layout")
    command.add_argument("--points", type=int, help="points of a stored cloud (default: as published)")
    command.add_argument("--categories", nargs="+", help="of shapenet15k (default: all simulated)")


COMMANDS = {"simulated-objects": Command(prepare_simulated, _add_arguments, reads=False)}
