"""Images and their depth, which P3P learns from."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from mae3d.datasets.layout_report import LayoutReport, read_everything
from mae3d.datasets.objects import LiftedImages
from mae3d.datasets.objects.depth_estimation import DEFAULT_MODEL, DepthAnything, brightness, write_depth_files
from mae3d.datasets.objects.lifted_images import DEPTH_SUFFIX, default_depth_folder, depth_path
from mae3d.datasets.parallel import ProgressLine
from mae3d.errors import ConfigError
from preparation.command import Command


def prepare_p3p(args: Namespace) -> LayoutReport:
    """Check images with depth files, and make the depth files that are missing; RGB-D images are only checked."""
    if args.depth != "files" and (args.intrinsics or args.depth_suffix != DEPTH_SUFFIX):
        raise ConfigError(
            f"--intrinsics and --depth-suffix name measured depth, --depth {args.depth} makes files of its own: leave "
            "the former out, or the latter"
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
            f"{paths[absent[0]]}). {dataset.hint}"
        )
    elif args.deep:
        read_everything(dataset, report, "clouds", workers=args.workers, progress=ProgressLine("reading"))
    return report


def _add_arguments(command: ArgumentParser) -> None:
    kinds = ("files", "depth-anything", "brightness")
    command.add_argument("--depth", choices=kinds, default="files", help="where missing depth files come from")
    command.add_argument("--depth-folder", type=Path, help="default: the images' folder with _depth_v2")
    command.add_argument("--depth-suffix", default=DEPTH_SUFFIX, help="what replaces the ending of an image")
    command.add_argument(
        "--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="of RGB-D images, pixels"
    )
    command.add_argument("--depth-model", default=DEFAULT_MODEL, help="name on the hub, or folder of weights")
    command.add_argument("--download", action="store_true", help="fetch weights that are not in the cache")


COMMANDS = {"p3p": Command(prepare_p3p, _add_arguments, place=("--images", "--root"))}
