"""Data sets of single objects: what is missing is named, caches and folds are built."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mae3d.datasets.layout_report import LayoutReport, read_everything
from mae3d.datasets.objects import (
    ModelNet40,
    ModelNet40HDF5,
    ObjectDataset,
    ScanObjectNN,
    ShapeNet15k,
    ShapeNet55,
    ShapeNetFeat,
    ShapeNetPart,
    caches,
    checks,
)
from mae3d.datasets.objects.modelnet40 import cache_path
from mae3d.datasets.objects.scanobjectnn import VARIANTS
from mae3d.datasets.objects.shapenet_feat import build_variations
from mae3d.datasets.objects.shapenet_pc15k import list_clouds, measure_moments, read_moments, write_moments
from mae3d.datasets.parallel import ProgressLine
from mae3d.errors import Mae3dError
from preparation.command import Command


def prepare_shapenet55(args: Namespace) -> LayoutReport:
    """Check ShapeNet55."""
    report = checks.check_shapenet55(args.root)
    _read(args, report, lambda split: ShapeNet55(args.root, split, npoints=None, on_error="skip"))
    return report


def prepare_shapenet_feat(args: Namespace) -> LayoutReport:
    """Check ShapeNet with normals and make the surface variations that are missing."""
    if not args.check_only:
        build_shapenet_variations(args, args.root)
    report = checks.check_shapenet_feat(args.root)
    _read(args, report, lambda split: ShapeNetFeat(args.root, split, whole=False, npoints=None, on_error="skip"))
    return report


def build_shapenet_variations(args: Namespace, root: Path) -> None:
    """The variations that are missing."""
    build_variations(root, workers=args.workers, progress=ProgressLine("variations"))


def prepare_shapenet15k(args: Namespace) -> LayoutReport:
    """Check ShapeNetCore.v2.PC15k and measure the training clouds of categories that were not measured yet."""
    report = checks.check_shapenet15k(args.root)
    if not report.problems and not args.check_only:
        measure_categories(args.root)
        report = checks.check_shapenet15k(args.root)
    build = partial(ShapeNet15k, args.root, categories="all", npoints=None, on_error="skip")
    _read(args, report, lambda split: build(split=split), splits=("train", "val", "test"))
    return report


def measure_categories(root: Path) -> None:
    """Moments of the training clouds of each category, those that are known already left as they are."""
    known = read_moments(root)
    synsets = ShapeNet15k(root, categories="all").synsets
    missing = [synset for synset in synsets if synset not in known]
    progress = ProgressLine("measuring")
    for done, synset in enumerate(missing, start=1):
        known[synset] = measure_moments(list_clouds(root, synset, "train"))
        progress(done, len(missing))
    write_moments(root, known)


def prepare_modelnet40(args: Namespace) -> LayoutReport:
    """Check ModelNet40 and build the caches that are missing."""
    report = checks.check_modelnet40(args.root, args.num_category)
    if not report.problems and not args.check_only:
        build_modelnet_caches(args, args.root, args.num_category)
        report = checks.check_modelnet40(args.root, args.num_category)
    _read(args, report, lambda split: ModelNet40(args.root, split, num_category=args.num_category, on_error="skip"))
    return report


def build_modelnet_caches(args: Namespace, root: Path, num_category: int = 40) -> None:
    """The caches of both splits that are missing."""
    for split in ("train", "test"):
        if not cache_path(root, split, num_category).exists():
            caches.build_modelnet_cache(
                root,
                split,
                num_category=num_category,
                seed=args.seed,
                workers=args.workers,
                progress=ProgressLine(f"cache {split}"),
            )


def prepare_modelnet40_hdf5(args: Namespace) -> LayoutReport:
    """Check the HDF5 form of ModelNet40."""
    report = checks.check_modelnet40_hdf5(args.root)
    _read(args, report, lambda split: ModelNet40HDF5(args.root, split, npoints=None, on_error="skip"))
    return report


def prepare_scanobjectnn(args: Namespace) -> LayoutReport:
    """Check ScanObjectNN."""
    report = checks.check_scanobjectnn(args.root)
    variants = sorted({line.split(" ", 1)[0] for line in report.found} & set(VARIANTS))
    for variant in variants:
        _read(
            args,
            report,
            lambda split, v=variant: ScanObjectNN(args.root, split, variant=v, on_error="skip"),
            f"{variant} ",
        )
    return report


def prepare_shapenetpart(args: Namespace) -> LayoutReport:
    """Check ShapeNetPart."""
    report = checks.check_shapenetpart(args.root)
    _read(args, report, lambda split: ShapeNetPart(args.root, split, on_error="skip"))
    return report


def prepare_fewshot(args: Namespace) -> LayoutReport:
    """Check the few-shot folds, and draw those that are missing from the ModelNet40 caches."""
    if args.modelnet is not None and not args.check_only:
        build_fewshot_folds(args, args.modelnet, args.root)
    return checks.check_fewshot(args.root, args.ways, args.shots, args.folds)


def build_fewshot_folds(args: Namespace, modelnet: Path, root: Path) -> None:
    """The folds that are missing."""
    caches.build_fewshot_folds(modelnet, root, ways=args.ways, shots=args.shots, folds=args.folds, seed=args.seed)


def add_fewshot_arguments(command: ArgumentParser) -> None:
    """Which folds there are."""
    command.add_argument("--ways", type=int, nargs="+", default=[5, 10])
    command.add_argument("--shots", type=int, nargs="+", default=[10, 20])
    command.add_argument("--folds", type=int, default=10)


def _add_modelnet_arguments(command: ArgumentParser) -> None:
    command.add_argument("--num-category", type=int, choices=(10, 40), default=40)


def _add_fewshot_arguments(command: ArgumentParser) -> None:
    add_fewshot_arguments(command)
    command.add_argument("--modelnet", type=Path, help="ModelNet40 folder to draw missing folds from")


def _read(
    args: Namespace,
    report: LayoutReport,
    build: Callable[[str], ObjectDataset],
    part: str = "",
    splits: Sequence[str] = ("train", "test"),
) -> None:
    """With --deep, load every sample of the splits (of one ``part`` of the data set)."""
    if not args.deep:
        return
    for split in splits:
        try:
            dataset = build(split)
        except Mae3dError as error:
            report.problems.append(str(error))
            continue
        read_everything(
            dataset,
            report,
            f"{part}{split} samples",
            workers=args.workers,
            progress=ProgressLine(f"reading {part}{split}"),
        )


COMMANDS = {
    "shapenet55": Command(prepare_shapenet55),
    "shapenet_feat": Command(prepare_shapenet_feat),
    "shapenet15k": Command(prepare_shapenet15k),
    "modelnet40": Command(prepare_modelnet40, _add_modelnet_arguments),
    "modelnet40_hdf5": Command(prepare_modelnet40_hdf5),
    "scanobjectnn": Command(prepare_scanobjectnn),
    "shapenetpart": Command(prepare_shapenetpart),
    "fewshot": Command(prepare_fewshot, _add_fewshot_arguments),
}
