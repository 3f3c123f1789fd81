"""ShapeNetCore.v2.PC15k, on files that the simulator wrote in its layout."""

import random
import shutil

import numpy as np
import pytest
import torch

from mae3d.datasets.objects import ShapeNet15k, checks
from mae3d.datasets.objects.mesh_files import read_ply, write_ply
from mae3d.datasets.objects.shapenet_pc15k import MOMENTS_FILE, list_clouds, measure_moments, write_moments
from mae3d.datasets.simulators.objects import layouts
from mae3d.errors import ConfigError, DataError

CATEGORIES = ["chair", "car"]


@pytest.fixture(scope="session")
def pc15k(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "ShapeNetCore.v2.PC15k"
    layouts.write_shapenet15k(root, 22, categories=CATEGORIES, points=10_200)
    return root


@pytest.fixture
def pc15k_copy(pc15k, tmp_path):
    return shutil.copytree(pc15k, tmp_path / "copy")


def stored(root, split="train", synsets=("03001627", "02958343")):
    return {path: np.load(path) for synset in synsets for path in sorted((root / synset / split).glob("*.npy"))}


def test_layout_and_order(pc15k):
    data = ShapeNet15k(pc15k, categories=CATEGORIES)
    assert data.classes == ("chair", "car")
    entries = [(path, int("02958343" in str(path))) for path in stored(pc15k)]
    random.Random(38383).shuffle(entries)
    assert data.entries == entries
    assert [len(ShapeNet15k(pc15k, split, categories=CATEGORIES)) for split in ("train", "val", "test")] == [16, 2, 4]
    assert data[3]["label"] == entries[3][1]
    assert data.sample_name(3) == str(entries[3][0])


def test_points_are_normalised_by_the_training_clouds_of_the_categories(pc15k):
    everything = np.stack(list(stored(pc15k).values())).astype(np.float64)
    mean, std = everything.reshape(-1, 3).mean(0), everything.reshape(-1).std()
    for split, half, rows in (("train", "train", slice(0, 10_000)), ("val", "reference", slice(10_000, None))):
        data = ShapeNet15k(pc15k, split, categories=CATEGORIES, stored=half, npoints=None, sampling="all")
        np.testing.assert_allclose(data.mean, mean, atol=1e-9)
        assert data.std == pytest.approx(std)
        sample = data[1]
        cloud = np.load(data.sample_name(1))[rows]
        np.testing.assert_allclose(sample["points"], (cloud - mean) / std, atol=1e-5)
        np.testing.assert_allclose(sample["points"] * sample["std"] + sample["mean"], cloud, atol=1e-5)


def test_training_points_are_drawn_with_replacement_and_anew_each_epoch(pc15k):
    data = ShapeNet15k(pc15k, categories=CATEGORIES, npoints=9_000, keep_in_memory=True)
    first = data[0]["points"]
    assert first.shape == (9_000, 3)
    assert len(first.unique(dim=0)) < 7_000  # 9,000 draws of 10,000 leave some out and repeat others
    assert torch.equal(first, data[0]["points"])
    data.set_epoch(1)
    assert not torch.equal(first, data[0]["points"])


def test_reference_points_are_the_first_of_their_part(pc15k):
    data = ShapeNet15k(pc15k, "val", categories=["car"], stored="reference", sampling="first", npoints=64)
    cloud = np.load(data.sample_name(0))[10_000:10_064]
    np.testing.assert_allclose(data[0]["points"] * data.std + data.mean, cloud, atol=1e-5)
    few = ShapeNet15k(pc15k, "val", categories=["car"], stored="reference", sampling="first", npoints=300)
    with pytest.raises(DataError, match="stores 200 points, but npoints=300"):
        few[0]


def test_stored_moments_are_used_and_add_up(pc15k_copy):
    measured = ShapeNet15k(pc15k_copy, categories=CATEGORIES).moments
    parts = {synset: measure_moments(list_clouds(pc15k_copy, synset, "train")) for synset in ("03001627", "02958343")}
    assert sum(part.clouds for part in parts.values()) == measured.clouds == 16
    assert parts["03001627"].std != pytest.approx(measured.std, rel=1e-6)
    write_moments(pc15k_copy, parts)
    for path in (pc15k_copy / "03001627" / "train").glob("*.npy"):
        path.write_bytes(b"")  # not read again
    again = ShapeNet15k(pc15k_copy, categories=CATEGORIES)
    assert again.std == pytest.approx(measured.std)
    (pc15k_copy / MOMENTS_FILE).write_text("{broken")
    with pytest.raises(DataError, match="Delete it"):
        _ = ShapeNet15k(pc15k_copy, categories=CATEGORIES).mean


def test_all_categories_of_the_folder(pc15k):
    assert ShapeNet15k(pc15k, categories="all").classes == ("car", "chair")
    assert ShapeNet15k(pc15k, categories="03001627").classes == ("chair",)


def test_layout_report(pc15k_copy):
    report = checks.check_shapenet15k(pc15k_copy)
    assert not report.problems
    assert "chair: 8 train, 1 val, 2 test" in report.found
    assert any("published set has 4,612 train" in note for note in report.notes)
    shutil.rmtree(pc15k_copy / "03001627" / "val")
    next((pc15k_copy / "02958343" / "test").glob("*.npy")).write_bytes(b"")
    problems = "\n".join(checks.check_shapenet15k(pc15k_copy).problems)
    assert "no .npy clouds of chair" in problems
    assert "car test: 1 of 2 files are empty" in problems
    assert checks.check_shapenet15k(pc15k_copy / "nothing").problems


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"categories": ["hovercraft"]}, "categories must be ShapeNet names or synsets"),
        ({"categories": []}, "categories must be ShapeNet names or synsets"),
        ({"split": "dev"}, "split must be one of"),
        ({"stored": "both"}, 'stored must be "train" or "reference"'),
        ({"normalize": "after"}, "drop normalize"),
    ],
)
def test_impossible_choices(pc15k, options, message):
    with pytest.raises(ConfigError, match=message):
        ShapeNet15k(pc15k, **options)


def test_missing_and_damaged_files(pc15k_copy):
    with pytest.raises(DataError, match=r"no .npy clouds of table.*holds car, chair"):
        ShapeNet15k(pc15k_copy, categories=["table"])
    data = ShapeNet15k(pc15k_copy, categories=["chair"])
    _ = data.moments
    np.save(data.sample_name(0), np.zeros((2048, 3)))
    with pytest.raises(DataError, match=r"expected numbers of shape \[15000, 3\].*found float64 \[2048, 3\]"):
        data[0]
    with pytest.raises(ConfigError, match="points must be above 10000"):
        layouts.write_shapenet15k(pc15k_copy / "new", 4, points=2048)


def test_written_ply_reads_back(tmp_path):
    points = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    write_ply(tmp_path / "cloud.ply", points)
    read, faces = read_ply(tmp_path / "cloud.ply")
    np.testing.assert_array_equal(read, points)
    assert faces is None
