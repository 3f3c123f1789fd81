"""The coloured scans of ScanObjectNN, on written files in their layout: columns, splits, background, and damage."""

import numpy as np
import pytest
import torch

from mae3d.datasets.objects import ScanObjectNNScans, collate_clouds
from mae3d.datasets.objects.checks import check_scanobjectnn
from mae3d.datasets.objects.scanobjectnn import CLASSES
from mae3d.datasets.objects.scanobjectnn_scans import scan_of
from mae3d.engine.config import load_config
from mae3d.errors import ConfigError, DataError
from mae3d.models.heads import P3PClassifier, p3p_classifier_test
from mae3d.registry import TRANSFORMS
from tests.engine.runs import ROOT

MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SCANS = {
    "chair/scene0001_00_00003": "train",
    "chair/scene0001_00_00013": "test",
    "bed/011_00003": "train",
    "bed/021_00003": "test",
    "bed/031_00003": None,  # in no list
}


def rows(count, seed):
    """x y z, normal, r g b, object, kind: a wall, a floor, things of kinds 4 and 7, and some without a kind."""
    generator = np.random.default_rng(seed)
    made = generator.normal(size=(count, 11)).astype(np.float32)
    made[:, 6:9] = generator.integers(0, 256, (count, 3))
    made[:, 9] = 0
    made[:, 10] = np.resize([1, 1, 1, 2, 7, 7, 4, 0, 0, 0], count)
    return made


@pytest.fixture
def folder(tmp_path):
    for number, name in enumerate(SCANS):
        copies = {f"object_dataset/{name}": 50 + number, f"PB_T50_RS/{name}_1": 60, f"PB_T50_RS/{name}_2": 70 + number}
        for place, count in copies.items():
            path = tmp_path / f"{place}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.concatenate(([count], rows(count, number).ravel())).astype("<f4").tofile(path)
    lines = []
    for name, own in SCANS.items():
        category, stem = name.split("/")
        if own:
            lines.append(f"{stem}.bin\t{CLASSES.index(category)}" + ("\tt" if own == "test" else ""))
    (tmp_path / "object_dataset" / "split_new.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_columns_of_a_scan(folder):
    data = ScanObjectNNScans(folder, "train", variant="OBJ_BG")
    assert [path.stem for path in data.paths] == ["scene0001_00_00003", "011_00003"]
    sample = data[0]
    stored = rows(50, 0).astype(np.float64)
    np.testing.assert_array_equal(sample["points"][:, :3], stored[:, :3].astype(np.float32))
    np.testing.assert_allclose(sample["points"][:, 3:], (stored[:, 6:9] / 255 - MEAN) / SPREAD, rtol=1e-5, atol=1e-6)
    assert [int(data[n]["label"]) for n in (0, 1)] == [CLASSES.index("chair"), CLASSES.index("bed")]
    plain = ScanObjectNNScans(folder, "train", variant="OBJ_BG", color=False)[0]["points"]
    assert torch.equal(plain, sample["points"][:, :3])
    assert len(ScanObjectNNScans(folder, "test", variant="OBJ_BG")) == 2


def test_the_object_alone_is_the_most_frequent_thing(folder):
    whole = ScanObjectNNScans(folder, "train", variant="OBJ_BG")[0]["points"]
    alone = ScanObjectNNScans(folder, "train", variant="OBJ_ONLY")[0]["points"]
    assert torch.equal(alone, whole[torch.from_numpy(rows(50, 0)[:, 10] == 7)])
    path = folder / "object_dataset" / "chair" / "scene0001_00_00003.bin"
    wall = rows(50, 0)
    wall[:, 10] = 1
    np.concatenate(([50], wall.ravel())).astype("<f4").tofile(path)
    with pytest.raises(DataError, match=r"scene0001_00_00003.bin: no point belongs to an object"):
        ScanObjectNNScans(folder, "train", variant="OBJ_ONLY")[0]


def test_perturbed_copies_belong_to_the_split_of_their_scan(folder):
    train, test = (ScanObjectNNScans(folder, split) for split in ("train", "test"))
    assert [path.stem for path in train.paths] == [
        "scene0001_00_00003_1",
        "scene0001_00_00003_2",
        "011_00003_1",
        "011_00003_2",
    ]
    assert {path.stem for path in test.paths} == {
        *("scene0001_00_00013_1", "scene0001_00_00013_2"),
        *("021_00003_1", "021_00003_2"),
    }
    assert scan_of("x_1_2", {"1": 0, "1_2": 0, "x_1": 0, "x_12": 0}) == "x_1"
    assert scan_of("scene0011_0", {"scene001": 0}) is None


def test_large_scans_lose_random_points(folder):
    few = ScanObjectNNScans(folder, "train", variant="OBJ_BG", npoints=20)
    whole = ScanObjectNNScans(folder, "train", variant="OBJ_BG")[0]["points"]
    drawn = few[0]["points"]
    assert drawn.shape == (20, 6)
    assert {tuple(row) for row in drawn.tolist()} <= {tuple(row) for row in whole.tolist()}
    assert torch.equal(few[0]["points"], drawn)
    few.set_epoch(1)
    assert not torch.equal(few[0]["points"], drawn)


@pytest.mark.parametrize("color", [True, False])
def test_p3p_takes_scans_with_and_without_colour(folder, color):
    cfg = load_config(ROOT / "configs" / "p3p" / "p3p_small_200e_scanobjectnn-color-obj-bg.py")
    data = ScanObjectNNScans(folder, "train", variant="OBJ_BG", color=color)
    batch = collate_clouds([data[0], data[1]])
    for transform in cfg.data_preprocessor.test_transforms:
        batch = TRANSFORMS.build(transform)(batch, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = p3p_classifier_test(color=color, num_classes=15).eval()
    points, offsets = batch["points"], batch["offsets"]
    assert points.shape[1] == (6 if color else 3)
    assert points[:, :3].norm(dim=1).max() < 1  # inside the unit ball, colours as they were
    with torch.no_grad():
        features = model.features(points, offsets)
        for column in range(points.shape[1]):  # every column matters
            changed = points.clone()
            changed[:, column] *= 0.5
            assert not torch.allclose(model.features(changed, offsets), features)
    assert model(points, "loss", offsets=offsets, label=batch["label"])["loss"].isfinite()


def test_config_reads_the_files(folder):
    cfg = load_config(ROOT / "configs" / "p3p" / "p3p_small_200e_scanobjectnn-color-pb-t50-rs.py")
    assert cfg.model.type is P3PClassifier
    own = {**cfg.train_dataloader.dataset, "root": folder}
    assert own.pop("type") is ScanObjectNNScans
    assert ScanObjectNNScans(**own)[0]["points"].shape[1] == 6
    rates = {
        name: load_config(ROOT / "configs" / "p3p" / f"p3p_{name}.py").optim_wrapper.optimizer.lr
        for name in ("small_200e_scanobjectnn-color-obj-bg", "small_200e_scanobjectnn-color-obj-only")
    }
    assert list(rates.values()) == [7.5e-4, 5e-4]


def test_damage_is_named(folder):
    path = folder / "object_dataset" / "bed" / "011_00003.bin"
    whole = np.fromfile(path, dtype="<f4")
    data = ScanObjectNNScans(folder, "train", variant="OBJ_BG")
    for damaged in (whole[:-3], np.concatenate(([np.nan], whole[1:])), whole[:1]):
        damaged.astype("<f4").tofile(path)
        with pytest.raises(DataError, match=r"011_00003.bin: \d+ numbers are no count followed by 11 of each"):
            data[1]
    whole[5] = np.nan
    whole.tofile(path)
    with pytest.raises(DataError, match=r"011_00003.bin: holds NaN"):
        data[1]
    (folder / "object_dataset" / "split_new.txt").write_text("a\tb\tc\td\n")
    with pytest.raises(DataError, match="line 1 is"):
        ScanObjectNNScans(folder, "train")
    (folder / "object_dataset" / "split_new.txt").write_text("other.bin\t3\n")
    with pytest.raises(DataError, match=r"no CLASS/NAME.bin is a train scan"):
        ScanObjectNNScans(folder, "train")
    with pytest.raises(DataError, match=r"split_new.txt: file is missing"):
        ScanObjectNNScans(folder / "nowhere", "train")
    for wrong in ({"split": "val"}, {"variant": "PB"}, {"npoints": 0}):
        with pytest.raises(ConfigError, match=f"ScanObjectNNScans: {next(iter(wrong))} must be"):
            ScanObjectNNScans(folder, **wrong)


def test_the_layout_is_reported(folder):
    report = check_scanobjectnn(folder)
    assert "coloured object_dataset: 2 training and 2 test scans" in report.found
    assert "coloured PB_T50_RS: 4 training and 4 test scans" in report.found
    assert not report.problems
