"""Looks at a folder and says what of a data set is there, what is missing and what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mae3d.datasets.files import read_hdf5, read_lines
from mae3d.datasets.layout_report import LayoutReport
from mae3d.datasets.objects import (
    fewshot,
    modelnet40,
    modelnet40_hdf5,
    scanobjectnn,
    scanobjectnn_scans,
    shapenet55,
    shapenet_feat,
    shapenet_pc15k,
    shapenetpart,
)
from mae3d.datasets.objects.shapenet_synsets import SHAPENET_NAMES
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


def check_shapenet_feat(root: Path) -> LayoutReport:
    """Lists, clouds and variations of ShapeNet with normals."""
    report = LayoutReport(root)
    for split in ("train", "test"):
        try:
            models = shapenet_feat.read_models(root / f"{split}.txt")
        except DataError as error:
            _fold_error(report, error)
            continue
        report.found.append(f"{split}.txt, lines: {len(models):,}")
        report.files(f"clouds of {split}.txt", [root / "pointcloud" / f"{model}.npy" for model in models])
        report.files(f"variations of {split}.txt", [shapenet_feat.variation_path(root, model) for model in models])
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
    _find_scans(root, report)
    if not report.found and not report.problems:
        report.problems.append("no variant is there: expected main_split/training_objectdataset*.h5, at best complete")
    return report


def _find_scans(root: Path, report: LayoutReport) -> None:
    """The coloured scans, one file each, which few need."""
    for folder in dict.fromkeys(scanobjectnn_scans.FOLDERS.values()):
        if not (root / folder).is_dir():
            report.notes.append(f"coloured scans {folder} are not there")
            continue
        variant = "OBJ_BG" if folder == "object_dataset" else folder
        try:
            counts = {
                split: len(scanobjectnn_scans.ScanObjectNNScans(root, split, variant=variant))
                for split in ("train", "test")
            }
        except DataError as error:
            _fold_error(report, error)
            continue
        report.found.append(f"coloured {folder}: {counts['train']:,} training and {counts['test']:,} test scans")


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


PC15K_PUBLISHED = {
    "airplane": {"train": 2_832, "val": 405, "test": 809},
    "car": {"train": 2_458, "val": 352, "test": 704},
    "chair": {"train": 4_612, "val": 662, "test": 1_317},
}
"""Clouds of the categories that papers report on."""


def check_shapenet15k(root: Path) -> LayoutReport:
    """Categories, clouds and training moments of ShapeNetCore.v2.PC15k."""
    report = LayoutReport(root)
    folders = sorted(entry for entry in root.iterdir() if entry.name in SHAPENET_NAMES) if root.is_dir() else []
    if not folders:
        report.problems.append(f"no folder named by a synset such as 03001627 below {root}")
        return report
    try:
        kept = shapenet_pc15k.read_moments(root)
    except DataError as error:
        _fold_error(report, error)
        return report
    for folder in folders:
        name, counts = SHAPENET_NAMES[folder.name], {}
        for split in shapenet_pc15k.SPLITS:
            try:
                paths = shapenet_pc15k.list_clouds(root, folder.name, split)
            except DataError as error:
                _fold_error(report, error)
                continue
            counts[split] = len(paths)
            empty = [path for path in paths if path.stat().st_size == 0]
            if empty:
                report.problems.append(f"{name} {split}: {len(empty)} of {len(paths)} files are empty: {empty[0]}, ...")
        report.found.append(f"{name}: " + ", ".join(f"{count:,} {split}" for split, count in counts.items()))
        published = PC15K_PUBLISHED.get(name)
        if published is not None and counts != published:
            listing = ", ".join(f"{count:,} {split}" for split, count in published.items())
            report.notes.append(f"{name}: the published set has {listing}")
        if folder.name not in kept:
            report.notes.append(f"{name}: {shapenet_pc15k.MOMENTS_FILE} lacks it; runs will read all training clouds")
        elif kept[folder.name].clouds != counts.get("train"):
            report.problems.append(
                f"{name}: {shapenet_pc15k.MOMENTS_FILE} was measured on {kept[folder.name].clouds:,} training clouds, "
                f"there are {counts.get('train', 0):,}. Delete it; prepare_data writes it again"
            )
    return report
