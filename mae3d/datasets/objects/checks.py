"""Looks at a folder and says what of a data set is there, what is missing and what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch.utils.data import DataLoader

from mae3d.datasets.files import read_hdf5, read_lines
from mae3d.datasets.objects import fewshot, modelnet40, modelnet40_hdf5, scanobjectnn, shapenet55, shapenetpart
from mae3d.datasets.objects.base import ObjectDataset
from mae3d.datasets.parallel import Progress
from mae3d.errors import DataError

SHOWN = 5
"""Missing files that a report names one by one."""


@dataclass
class LayoutReport:
    """What was found under a folder.

    Attributes:
        root: The folder.
        found: One line for each thing that is there.
        notes: Things that differ from the published set or that could be built, but hinder nothing.
        problems: Things that hinder; each says what is missing or damaged.
    """

    root: Path
    found: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.root}"]
        lines += [f"  ok       {line}" for line in self.found]
        lines += [f"  note     {line}" for line in self.notes]
        lines += [f"  problem  {line}" for line in self.problems]
        return "\n".join(lines)

    def count(self, what: str, number: int, published: int) -> None:
        """Note a count, and the published one where it differs."""
        self.found.append(f"{what}: {number:,}")
        if number != published:
            self.notes.append(f"{what}: the published set has {published:,}")

    def files(self, what: str, paths: Sequence[Path]) -> None:
        """Note how many of ``paths`` exist and are not empty; name the first that are not."""
        absent = [path for path in paths if not path.is_file()]
        empty = [path for path in paths if path not in set(absent) and path.stat().st_size == 0]
        if not absent and not empty:
            self.found.append(f"{what}: all {len(paths):,} files")
        for kind, bad in (("missing", absent), ("empty", empty)):
            if bad:
                names = ", ".join(str(path.relative_to(self.root)) for path in bad[:SHOWN])
                rest = f" and {len(bad) - SHOWN:,} more" if len(bad) > SHOWN else ""
                self.problems.append(f"{what}: {len(bad):,} of {len(paths):,} files are {kind}: {names}{rest}")


def _fold_error(report: LayoutReport, error: DataError) -> None:
    report.problems.append(str(error))


def check_shapenet55(root: Path) -> LayoutReport:
    """Lists and clouds of ShapeNet55."""
    report = LayoutReport(root)
    for split, published in (("train", 41_952), ("test", 10_518)):
        try:
            names = shapenet55.read_list(root / "ShapeNet-55" / f"{split}.txt")
        except DataError as error:
            _fold_error(report, error)
            continue
        report.count(f"ShapeNet-55/{split}.txt, lines", len(names), published)
        report.files(f"clouds of {split}.txt", [root / "shapenet_pc" / name for name in names])
    return report


def check_modelnet40(root: Path, num_category: int = 40) -> LayoutReport:
    """Lists, text files and caches of ModelNet40."""
    report = LayoutReport(root)
    try:
        classes = read_lines(root / f"modelnet{num_category}_shape_names.txt", modelnet40.HINT)
        report.count("classes", len(classes), num_category)
    except DataError as error:
        _fold_error(report, error)
    published = {(40, "train"): 9_843, (40, "test"): 2_468, (10, "train"): 3_991, (10, "test"): 908}
    for split in ("train", "test"):
        try:
            names = read_lines(root / f"modelnet{num_category}_{split}.txt", modelnet40.HINT)
        except DataError as error:
            _fold_error(report, error)
            continue
        report.count(f"modelnet{num_category}_{split}.txt, lines", len(names), published.get((num_category, split), 0))
        cache = modelnet40.cache_path(root, split, num_category)
        if cache.is_file():
            report.found.append(f"cache {cache.name} ({cache.stat().st_size / 1e6:,.0f} MB)")
        else:
            report.notes.append(f"cache {cache.name} is not built")
            report.files(f"clouds of {split}", [root / n.rsplit("_", 1)[0] / f"{n}.txt" for n in names])
    return report


def check_modelnet40_hdf5(root: Path) -> LayoutReport:
    """HDF5 files of ModelNet40."""
    report = LayoutReport(root)
    for split, published in (("train", 9_840), ("test", 2_468)):
        try:
            data = modelnet40_hdf5.ModelNet40HDF5(root, split)
            report.count(f"{split} clouds in {len(data.files)} files", len(data), published)
        except DataError as error:
            _fold_error(report, error)
    return report


def check_scanobjectnn(root: Path) -> LayoutReport:
    """The HDF5 files of each variant; variants that are absent altogether are notes, half ones are problems."""
    report = LayoutReport(root)
    for variant in scanobjectnn.VARIANTS:
        paths = {split: scanobjectnn.file_path(root, split, variant) for split in ("train", "test")}
        present = [path.is_file() for path in paths.values()]
        if not any(present):
            report.notes.append(f"{variant} is not there ({paths['train'].relative_to(root)}, ...)")
            continue
        for split, path in paths.items():
            try:
                (labels,) = read_hdf5(path, ("label",), scanobjectnn.HINT)
                report.found.append(f"{variant} {split}: {labels.size:,} clouds")
            except DataError as error:
                _fold_error(report, error)
    if not report.found and not report.problems:
        report.problems.append("no variant is there: expected main_split/training_objectdataset*.h5, at best complete")
    return report


def check_shapenetpart(root: Path) -> LayoutReport:
    """Category file, split lists and text files of ShapeNetPart."""
    report = LayoutReport(root)
    try:
        report.count("classes", len(shapenetpart.read_categories(root)), 16)
    except DataError as error:
        _fold_error(report, error)
    for split, published in (("train", 12_137), ("val", 1_870), ("test", 2_874)):
        try:
            entries = shapenetpart.read_split(root, split)
        except DataError as error:
            _fold_error(report, error)
            continue
        report.count(f"{split} list, entries", len(entries), published)
        report.files(f"clouds of {split}", [root / synset / f"{name}.txt" for synset, name in entries])
    return report


def check_fewshot(
    root: Path, ways: Sequence[int] = (5, 10), shots: Sequence[int] = (10, 20), folds: int = 10
) -> LayoutReport:
    """The folds of each way and shot: present, loadable, of the right sizes."""
    report = LayoutReport(root)
    for way in ways:
        for shot in shots:
            paths = [fewshot.fold_path(root, way, shot, fold) for fold in range(folds)]
            report.files(f"{way}-way {shot}-shot", paths)
            for fold, path in enumerate(paths):
                try:
                    if path.is_file():
                        for split in ("train", "test"):
                            fewshot.ModelNetFewShot(root, split, way=way, shot=shot, fold=fold)
                except DataError as error:
                    _fold_error(report, error)
    return report


def read_everything(
    dataset: ObjectDataset, report: LayoutReport, what: str, *, workers: int = 0, progress: Progress | None = None
) -> None:
    """Load each sample of ``dataset`` (made with ``on_error="skip"``) and name the unreadable ones."""
    loader = DataLoader(dataset, batch_size=None, num_workers=workers)
    try:
        for done, _ in enumerate(loader, start=1):
            if progress is not None:
                progress(done, len(dataset))
    except DataError as error:
        _fold_error(report, error)
        return
    if dataset.skipped:
        report.problems.append(f"{what}: {dataset.skip_report()}")
    else:
        report.found.append(f"{what}: all {len(dataset):,} samples are readable")
