"""ShapeNetPart and the few-shot folds, on simulated files in their layouts."""

import json
import pickle
import shutil

import numpy as np
import pytest

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.objects import ModelNetFewShot, ShapeNetPart
from mae3d.datasets.objects.caches import build_fewshot_folds
from mae3d.datasets.objects.modelnet40 import cache_path
from mae3d.datasets.objects.shapenet_synsets import PART_RANGES
from mae3d.datasets.simulators.objects.layouts import write_shapenetpart
from mae3d.errors import DataError


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "shapenetpart"
    write_shapenetpart(root, 48)
    return root


def test_splits_and_class_order(parts):
    sizes = {split: len(ShapeNetPart(parts, split)) for split in ("train", "val", "trainval", "test")}
    assert sizes["trainval"] == sizes["train"] + sizes["val"]
    assert sizes["trainval"] + sizes["test"] == 48
    data = ShapeNetPart(parts, "test")
    assert data.classes == tuple(PART_RANGES)
    assert [entry[0] for entry in data.entries] == sorted(entry[0] for entry in data.entries)
    assert data.metainfo["part_ranges"]["Mug"] == [36, 37]


def test_points_are_drawn_with_replacement_from_the_normalised_cloud(parts):
    data = ShapeNetPart(parts, "test", npoints=4000, use_normals=True)
    for index in range(0, len(data), 5):
        table = np.loadtxt(data.sample_name(index))
        xyz = table[:, :3] - table[:, :3].mean(0)
        xyz /= np.sqrt((xyz**2).sum(1)).max()
        sample = data[index]
        rows = data.random_generator(index).integers(0, len(table), 4000)
        np.testing.assert_allclose(sample["points"][:, :3], xyz[rows], atol=1e-5)
        np.testing.assert_allclose(sample["points"][:, 3:], table[rows, 3:6], atol=1e-6)
        np.testing.assert_array_equal(sample["part_label"], table[rows, 6].astype(int))
        allowed = PART_RANGES[data.classes[int(sample["label"])]]
        assert set(sample["part_label"].tolist()) <= set(allowed)


def test_all_fifty_parts_occur(parts):
    seen = set()
    for split in ("trainval", "test"):
        data = ShapeNetPart(parts, split)
        for index in range(len(data)):
            seen |= set(data[index]["part_label"].tolist())
    assert len(seen) >= 47
    assert seen <= set(range(50))


def test_damaged_part_files(parts, tmp_path):
    root = shutil.copytree(parts, tmp_path / "copy")
    data = ShapeNetPart(root, "test")
    path, table = data.sample_name(0), np.loadtxt(data.sample_name(0))
    np.savetxt(path, table[:, :6])
    with pytest.raises(DataError, match=r"expected 7 columns \(x y z nx ny nz part\), found 6"):
        data[0]
    table[8, 6] = 49
    np.savetxt(path, table)
    with pytest.raises(DataError, match=r"row 8 has part 49, class Airplane has 0\.\.3"):
        data[0]
    with open(path, "w") as file:
        file.write("1 2 three\n")
    with pytest.raises(DataError, match="not a table of numbers"):
        data[0]
    listing = root / "train_test_split" / "shuffled_test_file_list.json"
    listing.write_text(json.dumps(["shape_data/00000000/abc"]))
    with pytest.raises(DataError, match="names synset 00000000, the category file does not"):
        ShapeNetPart(root, "test")
    listing.write_text("[1, 2")
    with pytest.raises(DataError, match="expected a JSON list of PREFIX/SYNSET/ID strings"):
        ShapeNetPart(root, "test")
    (root / "synsetoffset2category.txt").write_text("Airplane\n")
    with pytest.raises(DataError, match="line 1: expected NAME SYNSET, found 'Airplane'"):
        ShapeNetPart(root, "test")


@pytest.fixture(scope="module")
def fewshot(tmp_path_factory):
    source = tmp_path_factory.mktemp("modelnet")
    generator = np.random.default_rng(0)
    for split, per_class in (("train", 12), ("test", 21)):
        labels = np.repeat(np.arange(8), per_class)
        clouds = [generator.normal(label, 1, (16, 6)).astype(np.float32) for label in labels]
        save_array_pickle([clouds, [np.array([label], dtype=np.int32) for label in labels]], cache_path(source, split))
    root = tmp_path_factory.mktemp("fewshot")
    build_fewshot_folds(source, root, ways=(5,), shots=(10,), folds=3)
    return source, root


def test_folds_have_the_published_form(fewshot):
    _, root = fewshot
    with (root / "5way_10shot" / "0.pkl").open("rb") as file:
        episode = pickle.load(file)
    for split, count in (("train", 10), ("test", 20)):
        items = episode[split]
        assert len(items) == 5 * count
        labels = [label for _, label, _ in items]
        assert np.bincount(labels).tolist() == [count] * 5
        assert len({(label, original) for _, label, original in items}) == 5
        assert len({cloud.tobytes() for cloud, _, _ in items}) == 5 * count


def test_folds_differ_and_are_read_back(fewshot):
    _, root = fewshot
    train = [ModelNetFewShot(root, way=5, shot=10, fold=fold) for fold in range(3)]
    originals = [tuple(item[2] for item in data.items) for data in train]
    assert len(set(originals)) > 1
    test = ModelNetFewShot(root, "test", way=5, shot=10, fold=0, npoints=9)
    assert len(test) == 100
    sample = test[99]
    assert sample["points"].shape == (9, 3)
    assert sample["label"] == 4
    cloud = test.items[99][0][:, :3].astype(np.float64)
    cloud = cloud - cloud.mean(0)
    np.testing.assert_allclose(sample["points"], (cloud / np.linalg.norm(cloud, axis=1).max())[:9], atol=1e-6)
    assert test.sample_name(99).endswith("0.pkl[test][99]")


def test_both_folder_names_and_wrong_sizes(fewshot, tmp_path):
    _, root = fewshot
    shutil.copytree(root / "5way_10shot", tmp_path / "5way10shot")
    assert len(ModelNetFewShot(tmp_path, way=5, shot=10, fold=1)) == 50
    save_array_pickle({"train": [], "test": []}, tmp_path / "5way10shot" / "1.pkl")
    with pytest.raises(DataError, match=r"1.pkl: 0 train clouds, expected 50"):
        ModelNetFewShot(tmp_path, way=5, shot=10, fold=1)
    with pytest.raises(DataError, match=r"7.pkl: file is missing"):
        ModelNetFewShot(tmp_path, way=5, shot=10, fold=7)


def test_too_few_clouds_for_an_episode(fewshot, tmp_path):
    source, _ = fewshot
    with pytest.raises(DataError, match="only 0 classes have 20 training and 20 test clouds, 5 are needed"):
        build_fewshot_folds(source, tmp_path, ways=(5,), shots=(20,))
    with pytest.raises(DataError, match="only 8 classes have 10"):
        build_fewshot_folds(source, tmp_path, ways=(10,), shots=(10,))
