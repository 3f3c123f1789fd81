"""Driving data sets, recorded or simulated: what is missing is named, indices and databases are built."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from functools import partial

from mae3d.datasets.layout_report import LayoutReport
from mae3d.datasets.lidar import prepare
from mae3d.datasets.simulators.driving.kitti_layout import KittiPlan, write_kitti
from mae3d.datasets.simulators.driving.nuscenes_layout import NuScenesPlan, write_nuscenes
from mae3d.datasets.simulators.driving.once_layout import OncePlan, write_once
from mae3d.errors import ConfigError
from preparation.command import Command


def prepare_drives(args: Namespace) -> LayoutReport:
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


def prepare_simulated_drives(args: Namespace) -> LayoutReport:
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


def _add_arguments(name: str, command: ArgumentParser) -> None:
    command.add_argument("--splits", nargs="+", help="default: all that are there")
    command.add_argument("--rebuild", action="store_true", help="make indices that exist again")
    command.add_argument("--sweeps", type=int, default=1, help="point files of a sample (database, --deep)")
    command.add_argument("--ground-truth-database", action="store_true", help="cut out the training objects")
    if name == "waymo":
        command.add_argument("--raw", action="store_true", help="convert raw_data/**/*.tfrecord first")
    if name in prepare.INFO_READERS:
        command.add_argument("--mmdet3d-infos", action="store_true", help="write info files of mmdet3d 1.4 too")
        command.add_argument("--infos", help="info file of mmdet3d or OpenPCDet to read instead of official files")


def _add_simulated_arguments(command: ArgumentParser) -> None:
    command.add_argument("--layouts", nargs="+", choices=("nuscenes", "kitti", "once"), default=["nuscenes"])
    command.add_argument("--scenes", type=int, nargs=2, default=(8, 2), metavar=("TRAIN", "VAL"))
    command.add_argument("--frames", type=int, default=20, help="(key) frames of a scene")
    command.add_argument("--sweeps", type=int, default=10, help="nuScenes sweeps written up to each key frame")
    command.add_argument("--motion-distortion", action="store_true", help="leave sweeps as measured in motion")


COMMANDS = {
    **{name: Command(prepare_drives, partial(_add_arguments, name)) for name in prepare.DRIVE_SETS},
    "simulated-drives": Command(prepare_simulated_drives, _add_simulated_arguments, reads=False),
}
