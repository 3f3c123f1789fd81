"""Gets a driving data set ready: checks its layout, names what is missing, and builds the frame index of each split."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.layout_report import LayoutReport, read_everything
from mae3d.datasets.lidar import kitti_reader, odometry_reader, once_reader, waymo_reader
from mae3d.datasets.lidar.argoverse2 import Argoverse2
from mae3d.datasets.lidar.argoverse2_reader import read_argoverse2
from mae3d.datasets.lidar.base import LidarDataset
from mae3d.datasets.lidar.frame_index import FrameIndex, index_path
from mae3d.datasets.lidar.ground_truth import build_database, count_points
from mae3d.datasets.lidar.kitti import Kitti
from mae3d.datasets.lidar.kitti_infos import read_kitti_infos
from mae3d.datasets.lidar.mmdet3d_infos import WRITERS
from mae3d.datasets.lidar.nuscenes import NuScenes
from mae3d.datasets.lidar.nuscenes_infos import read_nuscenes_infos
from mae3d.datasets.lidar.nuscenes_reader import read_nuscenes
from mae3d.datasets.lidar.once import Once
from mae3d.datasets.lidar.semantickitti import SemanticKitti
from mae3d.datasets.lidar.waymo import Waymo
from mae3d.datasets.lidar.waymo_conversion import FOLDERS, RAW, convert_segments, list_splits
from mae3d.datasets.lidar.waymo_reader import sequence_names
from mae3d.datasets.parallel import ProgressLine
from mae3d.errors import ConfigError, Mae3dError

Reader = Callable[..., FrameIndex]


@dataclass(frozen=True)
class DriveSet:
    """How a driving data set is prepared.

    Attributes:
        splits: Root -> names of the splits that are there.
        read: ``(root, split, workers=, progress=)`` -> index.
        dataset: Its class.
        published: Split -> number of frames.
        layout: Folders and files that must be there for any split, for the message where none is found.
        count: The files do not say how many points are in a box: count them.
        parallel: Reading a drive takes long enough for processes to pay.
    """

    splits: Callable[[Path], list[str]]
    read: Reader
    dataset: type[LidarDataset]
    published: Mapping[str, int] = field(default_factory=dict)
    layout: str = ""
    count: bool = False
    parallel: bool = False


@dataclass(frozen=True)
class Request:
    """What to do.

    Attributes:
        splits: Splits to prepare; None: all that are there.
        check_only: Build nothing.
        rebuild: Make an index that exists again.
        deep: Load every sample.
        sweeps: Point files of a sample, for the ground-truth database and deep checks.
        database: Build the ground-truth database of the training splits.
        mmdet3d_infos: Write each split as an info file of mmdet3d too.
        workers: Processes.
        raw: Waymo: convert the segments of ``raw_data/`` first.
    """

    splits: Sequence[str] | None = None
    check_only: bool = False
    rebuild: bool = False
    deep: bool = False
    sweeps: int = 1
    database: bool = False
    mmdet3d_infos: bool = False
    workers: int = 0
    raw: bool = False


def prepare(name: str, root: Path, request: Request) -> LayoutReport:
    """Check a data set below ``root`` and build what is missing.

    An index appears when it is whole, so an interrupted preparation goes on with the splits that lack one.

    Raises:
        ConfigError: an unknown data set.
    """
    if name not in DRIVE_SETS:
        raise ConfigError(f"no driving data set {name!r}; there are {', '.join(DRIVE_SETS)}")
    drive_set, report = DRIVE_SETS[name], LayoutReport(root)
    if request.raw:
        _convert_raw(root, request, report)
    splits = list(request.splits or drive_set.splits(root))
    if not splits:
        report.problems.append(f"no split of {name} is there: expected {drive_set.layout}")
    for split in splits:
        before = len(report.problems)
        try:
            index = _index(name, drive_set, root, split, request, report)
            _check_files(index, root, split, report)
            if request.mmdet3d_infos and not request.check_only:
                _write_infos(name, index, root, split, report)
            if len(report.problems) == before:
                _further(name, drive_set, root, split, request, report)
        except Mae3dError as error:
            report.problems.append(f"{split}: {error}")
    return report


def _convert_raw(root: Path, request: Request, report: LayoutReport) -> None:
    """Bring Waymo's own files into the layout that is read."""
    for split in list_splits(root):
        report.notes.append(f"{split}: ImageSets/{split}.txt lists what lies in {RAW}/{FOLDERS[split]}/")
    names = [n for split in request.splits or _listed(waymo_reader.SPLITS)(root) for n in sequence_names(root, split)]
    options = {"workers": request.workers, "progress": ProgressLine("converting segments")}
    count = convert_segments(root, names or None, **options)
    report.found.append(f"segments: {count:,} converted, others were before")


def _write_infos(name: str, index: FrameIndex, root: Path, split: str, report: LayoutReport) -> None:
    path = root / f"mae3d_{name}_infos_{split}.pkl"
    save_array_pickle(WRITERS[name](index, split), path)
    report.found.append(f"{split}: infos for mmdet3d written to {path.name}")


INFO_READERS = {"nuscenes": read_nuscenes_infos, "kitti": read_kitti_infos}
"""Data set -> reader of the info files of other codebases."""


def prepare_infos(name: str, root: Path, infos: str, split: str) -> LayoutReport:
    """Turn an info file of mmdet3d or OpenPCDet into the index of ``split``."""
    report = LayoutReport(root)
    index = INFO_READERS[name](root / infos)
    _check_files(index, root, split, report)
    index.save(index_path(root, name, split))
    report.found.append(f"{split}: {len(index):,} frames from {infos}")
    return report


def _index(
    name: str, drive_set: DriveSet, root: Path, split: str, request: Request, report: LayoutReport
) -> FrameIndex:
    path = index_path(root, name, split)
    if path.exists() and not request.rebuild:
        index = FrameIndex.load(path)
        report.found.append(f"{split}: {len(index):,} frames in {path.name}, made before")
        return index
    workers = request.workers if drive_set.parallel else 0
    index = drive_set.read(root, split, workers=workers, progress=ProgressLine(f"reading {split}"))
    report.count(f"{split} frames", len(index), drive_set.published.get(split, len(index)))
    if request.check_only:
        return index
    if drive_set.count and len(index.boxes):
        index = _counted(index, drive_set, root, split, request)
    index.save(path)
    report.found.append(f"{split}: index written to {path.name}")
    return index


def _counted(index: FrameIndex, drive_set: DriveSet, root: Path, split: str, request: Request) -> FrameIndex:
    """The index with the points of each box counted."""
    without = root / f".mae3d_{split}_uncounted.npz"
    index.save(without)
    try:
        dataset = drive_set.dataset(root, split, index_file=without.name)
        counts = count_points(dataset, workers=request.workers, progress=ProgressLine(f"counting points, {split}"))
    finally:
        without.unlink()
    return replace(index, num_points=counts)


def _check_files(index: FrameIndex, root: Path, split: str, report: LayoutReport) -> None:
    own = {str(name) for name in index.file}
    report.files(f"{split} point files", [root / name for name in sorted(own)])
    sweeps = {str(name) for name in index.sweep_file} - own
    if sweeps:
        report.files(f"{split} earlier sweeps", [root / name for name in sorted(sweeps)])


def _dataset(name: str, drive_set: DriveSet, root: Path, split: str, **options: Any) -> LidarDataset:
    return drive_set.dataset(root, None if name == "argoverse2" and split == "all" else split, **options)


def _further(name: str, drive_set: DriveSet, root: Path, split: str, request: Request, report: LayoutReport) -> None:
    """What needs the points: the ground-truth database, the deep check."""
    path = root / f"mae3d_{name}_{split}_objects_{request.sweeps}sweeps.npz"
    if request.database and "train" in split and not request.check_only:
        if request.rebuild or not path.exists():
            dataset = _dataset(name, drive_set, root, split, sweeps=request.sweeps)
            build_database(dataset, path, workers=request.workers, progress=ProgressLine(f"objects of {split}"))
        report.found.append(f"{split}: ground-truth database {path.name}")
    if request.deep:
        dataset = _dataset(name, drive_set, root, split, sweeps=request.sweeps, on_error="skip")
        progress = ProgressLine(f"loading {split}")
        read_everything(dataset, report, f"{split} samples", workers=request.workers, progress=progress)


def _nuscenes_splits(root: Path) -> list[str]:
    versions = {"v1.0-trainval": ["train", "val"], "v1.0-mini": ["mini_train", "mini_val"], "v1.0-test": ["test"]}
    return [split for version, splits in versions.items() if (root / version).is_dir() for split in splits]


def _listed(splits: Sequence[str]) -> Callable[[Path], list[str]]:
    return lambda root: [split for split in splits if (root / "ImageSets" / f"{split}.txt").is_file()]


def _kitti_splits(root: Path) -> list[str]:
    listed = _listed(kitti_reader.SPLITS)(root)
    return listed or (["training"] if (root / "training" / "velodyne").is_dir() else [])


def _semantickitti_splits(root: Path) -> list[str]:
    there = lambda name: (root / "sequences" / name / "velodyne").is_dir()  # noqa: E731
    return [split for split, names in odometry_reader.SPLITS.items() if any(map(there, names))]


def _argoverse2_splits(root: Path) -> list[str]:
    splits = [split for split in ("train", "val", "test") if (root / split).is_dir()]
    return splits or (["all"] if any(root.glob("*/sensors/lidar")) else [])


def _read_argoverse2(root: Path, split: str, **options: Any) -> FrameIndex:
    return read_argoverse2(root, None if split == "all" else split, **options)


DRIVE_SETS = {
    "nuscenes": DriveSet(
        _nuscenes_splits,
        read_nuscenes,
        NuScenes,
        {"train": 28_130, "val": 6_019, "test": 6_008, "mini_train": 323, "mini_val": 81},
        "v1.0-trainval/, v1.0-mini/ or v1.0-test/ beside samples/ and sweeps/",
        parallel=True,
    ),
    "kitti": DriveSet(
        _kitti_splits,
        kitti_reader.read_kitti,
        Kitti,
        {"train": 3_712, "val": 3_769, "trainval": 7_481, "test": 7_518},
        "ImageSets/*.txt beside training/ and testing/ with velodyne/, calib/ and label_2/",
        count=True,
    ),
    "semantickitti": DriveSet(
        _semantickitti_splits,
        odometry_reader.read_semantickitti,
        SemanticKitti,
        {"train": 19_130, "val": 4_071, "test": 20_351},
        "sequences/00/ ... with velodyne/, calib.txt, times.txt and poses.txt",
    ),
    "once": DriveSet(
        _listed(once_reader.SPLITS),
        once_reader.read_once,
        Once,
        {},
        "ImageSets/*.txt beside data/SEQUENCE/SEQUENCE.json and data/SEQUENCE/lidar_roof/",
        count=True,
    ),
    "waymo": DriveSet(
        _listed(waymo_reader.SPLITS),
        waymo_reader.read_waymo,
        Waymo,
        {"train": 158_081, "val": 39_987},
        f"ImageSets/*.txt beside {waymo_reader.PROCESSED}/SEQUENCE/",
        parallel=True,
    ),
    "argoverse2": DriveSet(
        _argoverse2_splits,
        _read_argoverse2,
        Argoverse2,
        {},
        "train/, val/ or test/ with LOG/sensors/lidar/, LOG/city_SE3_egovehicle.feather",
        parallel=True,
    ),
}
"""Driving data sets by the name of their command."""
