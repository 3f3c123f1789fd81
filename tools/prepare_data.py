"""Check a data set on disk, build its caches, or write simulated data in its layout.

    python tools/prepare_data.py shapenet55 --root data/ShapeNet55-34
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
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mae3d.datasets.layout_report import LayoutReport, read_everything
from mae3d.datasets.lidar import prepare
from mae3d.datasets.objects import (
    LiftedImages,
    ModelNet40,
    ModelNet40HDF5,
    ObjectDataset,
    ScanObjectNN,
    ShapeNet15k,
    ShapeNet55,
    ShapeNetPart,
    caches,
    checks,
)
from mae3d.datasets.objects.depth_estimation import DEFAULT_MODEL, DepthAnything, brightness, write_depth_files
from mae3d.datasets.objects.lifted_images import DEPTH_SUFFIX, default_depth_folder, depth_path
from mae3d.datasets.objects.modelnet40 import cache_path
from mae3d.datasets.objects.scanobjectnn import VARIANTS
from mae3d.datasets.objects.shapenet_pc15k import list_clouds, measure_moments, read_moments, write_moments
from mae3d.datasets.parallel import ProgressLine
from mae3d.datasets.simulators.driving.kitti_layout import KittiPlan, write_kitti
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.datasets.simulators.driving.once_layout import OncePlan, write_once
from mae3d.datasets.simulators.objects import layouts, scans
from mae3d.datasets.text.prepare import CorpusRequest, prepare_corpus, prepare_sts
from mae3d.errors import ConfigError, Mae3dError

LAYOUTS = {
    "shapenet55": "ShapeNet55-34",
    "shapenet15k": "ShapeNetCore.v2.PC15k",
    "modelnet40": "ModelNet/modelnet40_normal_resampled",
    "modelnet40_hdf5": "modelnet40_ply_hdf5_2048",
    "scanobjectnn": "ScanObjectNN",
    "shapenetpart": "shapenetcore_partanno_segmentation_benchmark_v0_normal",
    "fewshot": "ModelNetFewshot",
}
"""Data set -> its folder below the data root, as the published configs name them."""


def prepare_shapenet55(args: argparse.Namespace) -> LayoutReport:
    """Check ShapeNet55."""
    report = checks.check_shapenet55(args.root)
    _read(args, report, lambda split: ShapeNet55(args.root, split, npoints=None, on_error="skip"))
    return report


def prepare_shapenet15k(args: argparse.Namespace) -> LayoutReport:
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


def prepare_modelnet40(args: argparse.Namespace) -> LayoutReport:
    """Check ModelNet40 and build the caches that are missing."""
    report = checks.check_modelnet40(args.root, args.num_category)
    if not report.problems and not args.check_only:
        for split in ("train", "test"):
            if not cache_path(args.root, split, args.num_category).exists():
                caches.build_modelnet_cache(
                    args.root,
                    split,
                    num_category=args.num_category,
                    seed=args.seed,
                    workers=args.workers,
                    progress=ProgressLine(f"cache {split}"),
                )
        report = checks.check_modelnet40(args.root, args.num_category)
    _read(args, report, lambda split: ModelNet40(args.root, split, num_category=args.num_category, on_error="skip"))
    return report


def prepare_modelnet40_hdf5(args: argparse.Namespace) -> LayoutReport:
    """Check the HDF5 form of ModelNet40."""
    report = checks.check_modelnet40_hdf5(args.root)
    _read(args, report, lambda split: ModelNet40HDF5(args.root, split, npoints=None, on_error="skip"))
    return report


def prepare_scanobjectnn(args: argparse.Namespace) -> LayoutReport:
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


def prepare_shapenetpart(args: argparse.Namespace) -> LayoutReport:
    """Check ShapeNetPart."""
    report = checks.check_shapenetpart(args.root)
    _read(args, report, lambda split: ShapeNetPart(args.root, split, on_error="skip"))
    return report


def prepare_fewshot(args: argparse.Namespace) -> LayoutReport:
    """Check the few-shot folds, and draw those that are missing from the ModelNet40 caches."""
    if args.modelnet is not None and not args.check_only:
        caches.build_fewshot_folds(
            args.modelnet, args.root, ways=args.ways, shots=args.shots, folds=args.folds, seed=args.seed
        )
    return checks.check_fewshot(args.root, args.ways, args.shots, args.folds)


def prepare_p3p(args: argparse.Namespace) -> LayoutReport:
    """Check images with depth files, and make the depth files that are missing; RGB-D images are only checked."""
    if args.depth != "files" and (args.intrinsics or args.depth_suffix != DEPTH_SUFFIX):
        raise ConfigError(
            f"--intrinsics and --depth-suffix name measured depth, --depth {args.depth} makes its own files"
        )
    depth = args.depth_folder or default_depth_folder(args.root)
    makers = {
        "depth-anything": lambda: DepthAnything(args.depth_model, download=args.download),
        "brightness": lambda: brightness,
    }
    report = LayoutReport(args.root)
    if args.depth != "files" and not args.check_only:
        written = write_depth_files(args.root, depth, makers[args.depth], progress=ProgressLine("depth"))
        report.found.append(f"depth files written: {written:,} ({args.depth})")
    camera = "pinhole" if args.intrinsics else "published"
    form = {"depth_suffix": args.depth_suffix, "camera": camera, "intrinsics": args.intrinsics}
    dataset = LiftedImages(args.root, depth, **form, on_error="skip")
    report.found.append(f"images: {len(dataset):,}")
    paths = {name: depth_path(depth, name, args.depth_suffix) for name in dataset.files}
    absent = [name for name, path in paths.items() if not path.is_file()]
    if absent:
        report.problems.append(
            f"{len(absent):,} of {len(dataset):,} images have no depth file, the first is {absent[0]} (expected "
            f"{paths[absent[0]]}). Unpack published files there, or add --depth depth-anything"
        )
    elif args.deep:
        read_everything(dataset, report, "clouds", workers=args.workers, progress=ProgressLine("reading"))
    return report


def prepare_simulated(args: argparse.Namespace) -> LayoutReport:
    """Write simulated objects in the wanted layouts."""
    report = LayoutReport(args.root)
    chosen = [name for name in LAYOUTS if name in args.layouts]
    for name in chosen:
        root = args.root / LAYOUTS[name]
        common = {"seed": args.seed, "workers": args.workers, "progress": ProgressLine(name)}
        points = {} if args.points is None else {"points": args.points}
        if name == "fewshot":
            source = args.root / LAYOUTS["modelnet40"]
            caches.build_fewshot_folds(source, root, ways=args.ways, shots=args.shots, folds=args.folds, seed=args.seed)
        elif name == "scanobjectnn":
            scans.write_scanobjectnn(root, args.count, **common)
        elif name == "shapenetpart":
            layouts.write_shapenetpart(root, args.count, **common)
        else:
            write = {
                "shapenet15k": partial(layouts.write_shapenet15k, categories=args.categories),
                "shapenet55": layouts.write_shapenet55,
                "modelnet40": layouts.write_modelnet40,
                "modelnet40_hdf5": layouts.write_modelnet40_hdf5,
            }[name]
            write(root, args.count, **common, **points)
        if name == "shapenet15k":
            measure_categories(root)
        if name == "modelnet40":
            for split in ("train", "test"):
                if not cache_path(root, split).exists():
                    caches.build_modelnet_cache(
                        root, split, seed=args.seed, workers=args.workers, progress=ProgressLine(f"cache {split}")
                    )
        report.found.append(f"{name}: {LAYOUTS[name]}")
    return report


def prepare_drives(args: argparse.Namespace) -> LayoutReport:
    """Check driving data, name what is missing and build the frame index of each split."""
    if getattr(args, "infos", None):
        if len(args.splits or ()) != 1:
            raise ConfigError("--infos needs --splits with the one name under which the frames are indexed")
        return prepare.prepare_infos(args.dataset, args.root, args.infos, args.splits[0])
    request = prepare.Request(
        splits=args.splits,
        check_only=args.check_only,
        rebuild=args.rebuild,
        deep=args.deep,
        sweeps=args.sweeps,
        database=args.ground_truth_database,
        mmdet3d_infos=getattr(args, "mmdet3d_infos", False),
        workers=args.workers,
        raw=getattr(args, "raw", False),
    )
    return prepare.prepare(args.dataset, args.root, request)


def prepare_simulated_drives(args: argparse.Namespace) -> LayoutReport:
    """Write simulated drives in the wanted layouts and build their indices."""
    train, val = args.scenes
    report = LayoutReport(args.root)
    writers = {
        "nuscenes": lambda root: write_nuscenes(
            NuScenesPlan(root, train, val, args.frames, args.seed, args.sweeps, args.motion_distortion),
            workers=args.workers,
        ),
        "kitti": lambda root: write_kitti(
            KittiPlan(root, train * args.frames, val * args.frames, args.seed, args.motion_distortion),
            workers=args.workers,
        ),
        "once": lambda root: write_once(
            OncePlan(root, train, val, train, args.frames, args.seed, args.motion_distortion), workers=args.workers
        ),
    }
    for name in args.layouts:
        writers[name](args.root / name)
        built = prepare.prepare(name, args.root / name, prepare.Request(workers=args.workers))
        report.found += [f"{name}: {line}" for line in built.found]
        report.problems += [f"{name}: {line}" for line in built.problems]
    return report


def prepare_text(args: argparse.Namespace) -> LayoutReport:
    """Train a vocabulary on documents, or pack them into blocks of token ids."""
    request = CorpusRequest(
        documents=args.documents,
        field=args.field,
        vocabulary=args.vocabulary or args.root / "vocab.txt",
        vocabulary_size=args.train_vocabulary,
        lowercase=not args.cased,
        block_length=args.block_length,
        short_probability=args.short_probability,
        across_documents=args.across_documents,
        seed=args.seed,
    )
    return prepare_corpus(args.root, request, ProgressLine("documents"))


def prepare_pairs(args: argparse.Namespace) -> LayoutReport:
    """Write the sentences of scored pairs as documents, and a vocabulary trained on them."""
    return prepare_sts(args.root, args.pairs, args.train_vocabulary)


def _read(
    args: argparse.Namespace,
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


COMMANDS: dict[str, Callable[[argparse.Namespace], LayoutReport]] = {
    "shapenet55": prepare_shapenet55,
    "shapenet15k": prepare_shapenet15k,
    "modelnet40": prepare_modelnet40,
    "modelnet40_hdf5": prepare_modelnet40_hdf5,
    "scanobjectnn": prepare_scanobjectnn,
    "shapenetpart": prepare_shapenetpart,
    "fewshot": prepare_fewshot,
    "p3p": prepare_p3p,
    "simulated-objects": prepare_simulated,
    **dict.fromkeys(prepare.DRIVE_SETS, prepare_drives),
    "simulated-drives": prepare_simulated_drives,
    "text": prepare_text,
    "sts": prepare_pairs,
}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line of this tool."""
    description, _, epilog = (__doc__ or "").partition("\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, epilog=epilog, formatter_class=form)
    commands = parser.add_subparsers(dest="dataset", required=True, metavar="DATASET")
    for name, function in COMMANDS.items():
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        place = ("--images", "--root") if name == "p3p" else ("--root",)
        command.add_argument(*place, dest="root", type=Path, required=True, help="folder of the data set")
        command.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
        command.add_argument("--seed", type=int, default=0, help="seed of caches, folds and simulations")
        if not name.startswith("simulated"):
            command.add_argument("--check-only", action="store_true", help="build nothing")
            command.add_argument("--deep", action="store_true", help="load every sample")
        if name == "text":
            command.add_argument("--documents", type=Path, required=True, help=".jsonl, .txt, .parquet or a folder")
            command.add_argument("--field", default="text", help="field of the text")
            command.add_argument("--vocabulary", type=Path, help="tokenizer.json or vocab.txt (default: in ROOT)")
            command.add_argument("--train-vocabulary", type=int, metavar="SIZE", help="train it where it is not there")
            command.add_argument("--cased", action="store_true", help="keep capitals and accents (vocab.txt)")
            command.add_argument("--block-length", type=int, help="pack sentences into blocks of so many ids")
            command.add_argument("--short-probability", type=float, default=0.0, help="share of shorter blocks")
            command.add_argument("--across-documents", action="store_true", help="blocks go on with the next document")
        if name == "sts":
            command.add_argument("--pairs", type=Path, required=True, help="table of sentence, sentence, score")
            command.add_argument("--train-vocabulary", type=int, default=2000, metavar="SIZE", help="entries")
        if name == "p3p":
            kinds = ("files", "depth-anything", "brightness")
            command.add_argument("--depth", choices=kinds, default="files", help="where missing depth files come from")
            command.add_argument("--depth-folder", type=Path, help="default: the images' folder with _depth_v2")
            command.add_argument("--depth-suffix", default=DEPTH_SUFFIX, help="what replaces the ending of an image")
            command.add_argument(
                "--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="of RGB-D images, pixels"
            )
            command.add_argument("--depth-model", default=DEFAULT_MODEL, help="name on the hub, or folder of weights")
            command.add_argument("--download", action="store_true", help="fetch weights that are not in the cache")
        if name == "modelnet40":
            command.add_argument("--num-category", type=int, choices=(10, 40), default=40)
        if name in ("fewshot", "simulated-objects"):
            command.add_argument("--ways", type=int, nargs="+", default=[5, 10])
            command.add_argument("--shots", type=int, nargs="+", default=[10, 20])
            command.add_argument("--folds", type=int, default=10)
        if name == "fewshot":
            command.add_argument("--modelnet", type=Path, help="ModelNet40 folder to draw missing folds from")
        if name == "simulated-objects":
            command.add_argument("--layouts", nargs="+", choices=list(LAYOUTS), default=["shapenet55", "modelnet40"])
            command.add_argument("--count", type=int, default=1000, help="clouds (scans) of each layout")
            command.add_argument("--points", type=int, help="points of a stored cloud (default: as published)")
            command.add_argument("--categories", nargs="+", help="of shapenet15k (default: all simulated)")
        if name in prepare.DRIVE_SETS:
            command.add_argument("--splits", nargs="+", help="default: all that are there")
            command.add_argument("--rebuild", action="store_true", help="make indices that exist again")
            command.add_argument("--sweeps", type=int, default=1, help="point files of a sample (database, --deep)")
            command.add_argument("--ground-truth-database", action="store_true", help="cut out the training objects")
        if name == "waymo":
            command.add_argument("--raw", action="store_true", help="convert raw_data/**/*.tfrecord first")
        if name in prepare.INFO_READERS:
            command.add_argument("--mmdet3d-infos", action="store_true", help="write info files of mmdet3d 1.4 too")
            command.add_argument("--infos", help="info file of mmdet3d or OpenPCDet to read instead of official files")
        if name == "simulated-drives":
            command.add_argument("--layouts", nargs="+", choices=("nuscenes", "kitti", "once"), default=["nuscenes"])
            command.add_argument("--scenes", type=int, nargs=2, default=(8, 2), metavar=("TRAIN", "VAL"))
            command.add_argument("--frames", type=int, default=20, help="(key) frames of a scene")
            command.add_argument("--sweeps", type=int, default=10, help="nuScenes sweeps written up to each key frame")
            command.add_argument("--motion-distortion", action="store_true", help="leave sweeps as measured in motion")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the tool; returns the exit status."""
    args = parse_arguments(arguments)
    try:
        report = COMMANDS[args.dataset](args)
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
