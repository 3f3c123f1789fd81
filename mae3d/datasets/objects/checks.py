"""Looks at a folder and says what of a data set is there, what is missing and what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mae3d.datasets.files import read_hdf5, read_lines
from mae3d.datasets.layout_report import LayoutReport
from mae3d.datasets.objects import fewshot, modelnet40, modelnet40_hdf5, scanobjectnn, shapenet55, shapenetpart
from mae3d.errors import DataError


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
