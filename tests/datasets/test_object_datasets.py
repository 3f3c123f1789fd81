"""Readers of the official object-cloud files, on files that the simulator wrote in those layouts."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from torch.utils.data import DataLoader

from mae3d.datasets.array_pickle import save_array_pickle
from mae3d.datasets.objects import ModelNet40, ShapeNet55
from mae3d.datasets.objects.base import normalize_cloud
from mae3d.datasets.objects.caches import build_modelnet_cache
from mae3d.datasets.simulators.objects import layouts
from mae3d.engine.sampling import EpochSampler, SampleKey, SeededDataset
from mae3d.errors import ConfigError, DataError
from mae3d.registry import DATASETS


@pytest.fixture(scope="session")
def shapenet(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "ShapeNet55-34"
    layouts.write_shapenet55(root, 70, points=1024)
    return root


@pytest.fixture(scope="session")
def modelnet(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "modelnet40_normal_resampled"
    layouts.write_modelnet40(root, 60, points=300)
    return root


@pytest.fixture
def shapenet_copy(shapenet, tmp_path):
    return shutil.copytree(shapenet, tmp_path / "copy")


def official_normalization(points: np.ndarray) -> np.ndarray:
    points = points.astype(np.float64)
    points = points - points.mean(0)
    return points / np.sqrt((points**2).sum(1)).max()


def test_shapenet_sample_is_a_normalised_subset_of_its_file(shapenet):
    data = ShapeNet55(shapenet, npoints=100)
    files = (shapenet / "ShapeNet-55" / "train.txt").read_text().split()
    assert len(data) == len(files)
    stored = np.load(shapenet / "shapenet_pc" / files[3])
    sample = data[3]
    rows = data.random_generator(3).permutation(len(stored))[:100]
    np.testing.assert_allclose(sample["points"], official_normalization(stored[rows]), atol=1e-6)
    assert len(set(rows.tolist())) == 100
    assert sample["points"].dtype == torch.float32
    assert sample["index"] == 3
    assert data.sample_name(3).endswith(files[3])
    assert data.synsets[int(sample["label"])] == files[3].split("-")[0]
    assert data.classes[0] == "airplane"


def test_shapenet_whole_adds_the_test_list(shapenet):
    train, test = ShapeNet55(shapenet), ShapeNet55(shapenet, "test")
    whole = ShapeNet55(shapenet, whole=True)
    assert len(whole) == len(train) + len(test) == 70
    assert train.classes == test.classes == whole.classes
    assert whole.files[len(train) :] == test.files


def test_draws_depend_on_seed_epoch_and_index_only(shapenet):
    data, other = ShapeNet55(shapenet, npoints=50), ShapeNet55(shapenet, npoints=50, seed=1)
    first = data[5]["points"]
    torch.testing.assert_close(first, data[5]["points"])
    assert not torch.equal(first, other[5]["points"])
    data.set_epoch(1)
    assert not torch.equal(first, data[5]["points"])
    data.set_epoch(0)
    torch.testing.assert_close(first, data[5]["points"])


def test_workers_change_nothing_and_see_the_epoch(shapenet):
    data = ShapeNet55(shapenet, npoints=50)
    alone = DataLoader(data, batch_size=8, collate_fn=default_collate)
    shared = DataLoader(data, batch_size=8, collate_fn=default_collate, num_workers=2, persistent_workers=True)
    epochs = []
    for epoch in (0, 1):
        data.set_epoch(epoch)
        a, b = list(alone), list(shared)
        torch.testing.assert_close(a, b)
        epochs.append(a[0]["points"])
    assert not torch.equal(*epochs)


def test_indices_that_carry_a_seed_draw_from_it(shapenet_copy):
    data = ShapeNet55(shapenet_copy, npoints=50)
    first = data[SampleKey(5, seed=11)]["points"]
    data.set_epoch(3)
    torch.testing.assert_close(first, data[SampleKey(5, seed=11)]["points"])
    assert not torch.equal(first, data[SampleKey(5, seed=12)]["points"])
    assert not torch.equal(first, data[5]["points"])
    (shapenet_copy / "shapenet_pc" / data.files[4]).unlink()
    skipping = ShapeNet55(shapenet_copy, npoints=50, on_error="skip")
    torch.testing.assert_close(first, skipping[SampleKey(4, seed=11)]["points"])


def test_runner_draws_new_points_each_epoch_whatever_the_workers(shapenet):
    def epochs(workers):
        data = SeededDataset(ShapeNet55(shapenet, npoints=50))
        sampler = EpochSampler(data, seed=0)
        loader = DataLoader(data, 8, sampler=sampler, collate_fn=default_collate, num_workers=workers)
        drawn = []
        for epoch in (0, 1):
            sampler.set_epoch(epoch)
            batches = list(loader)
            order = torch.cat([batch["index"] for batch in batches]).argsort()
            drawn.append(torch.cat([batch["points"] for batch in batches])[order])
        return drawn

    alone, shared = epochs(0), epochs(2)
    torch.testing.assert_close(alone, shared, rtol=0, atol=0)
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "columns", "nan", "pickle", "missing"])
def test_damaged_cloud_names_its_file(shapenet_copy, damage):
    data = ShapeNet55(shapenet_copy, npoints=64)
    path = shapenet_copy / "shapenet_pc" / data.files[2]
    cloud = np.load(path)
    if damage == "empty":
        path.write_bytes(b"")
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "text":
        path.write_text("not an array")
    elif damage == "columns":
        np.save(path, cloud[:, :2])
    elif damage == "nan":
        cloud[17, 1] = np.nan
        np.save(path, cloud)
    elif damage == "pickle":
        np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    else:
        path.unlink()
    expected = {
        "empty": "file is empty",
        "truncated": "not a readable .npy",
        "text": "not a readable .npy",
        "columns": r"expected numbers of shape \[N, 3 or more\], found float32 \[1024, 2\]",
        "nan": "1 of 1024 points are NaN or infinite, the first is row 17",
        "pickle": "not a readable .npy",
        "missing": "file is missing",
    }[damage]
    with pytest.raises(DataError, match=f"{path.name}: {expected}"):
        data[2]
    assert data[1]["points"].shape == (64, 3)


def test_skipping_counts_over_workers_and_reports(shapenet_copy, caplog):
    data = ShapeNet55(shapenet_copy, npoints=64, on_error="skip")
    for index in (2, 3, 9):
        (shapenet_copy / "shapenet_pc" / data.files[index]).write_bytes(b"")
    loader = DataLoader(data, batch_size=4, num_workers=2, collate_fn=default_collate)
    indices = torch.cat([batch["index"] for batch in loader]).tolist()
    assert indices[:12] == [0, 1, 4, 4, 4, 5, 6, 7, 8, 10, 10, 11]
    assert data.skipped == [2, 3, 9]
    assert data.skip_report().startswith(f"3 of {len(data)} samples were skipped: {data.sample_name(2)}")
    with caplog.at_level("WARNING", logger="mae3d.datasets"):
        other = ShapeNet55(shapenet_copy, npoints=64, on_error="skip")
        assert other[2]["index"] == 4
        assert other[2]["index"] == 4
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["skipped sample 2", "skipped sample 3"]
    assert other.skip_report().startswith("2 of")


def test_nothing_readable_is_an_error(shapenet_copy):
    shutil.rmtree(shapenet_copy / "shapenet_pc")
    data = ShapeNet55(shapenet_copy, on_error="skip")
    with pytest.raises(DataError, match="none of the"):
        data[0]


def test_missing_and_malformed_lists(shapenet_copy):
    listing = shapenet_copy / "ShapeNet-55" / "train.txt"
    listing.write_text("02691156-a.npy\nno extension\n")
    with pytest.raises(DataError, match=r"train.txt, line 2: expected SYNSET-MODELID.npy, found 'no extension'"):
        ShapeNet55(shapenet_copy)
    listing.write_text("\n\n")
    with pytest.raises(DataError, match="only blank lines"):
        ShapeNet55(shapenet_copy)
    listing.unlink()
    with pytest.raises(DataError, match=r"train.txt: file is missing. .*prepare_data.py shapenet55"):
        ShapeNet55(shapenet_copy)


def test_too_few_points_and_wrong_settings(shapenet):
    with pytest.raises(DataError, match=r"stores 1024 points, but npoints=2000"):
        ShapeNet55(shapenet, npoints=2000)[0]
    repeated = ShapeNet55(shapenet, npoints=2000, repeat_points=True)[0]["points"]
    assert len(repeated.unique(dim=0)) == 1024
    for wrong in ({"split": "val"}, {"npoints": 0}, {"on_error": "ignore"}, {"sampling": "best"}, {"normalize": "yes"}):
        with pytest.raises(ConfigError):
            ShapeNet55(shapenet, **wrong)


def test_single_point_cloud_stays_at_the_origin():
    np.testing.assert_array_equal(normalize_cloud(np.full((5, 3), 7, dtype=np.float32)), np.zeros((5, 3)))


def test_registry_builds_by_name(shapenet):
    data = DATASETS.build({"type": "ShapeNet55", "root": str(shapenet), "npoints": 16})
    assert data.metainfo["classes"] == data.classes


def test_modelnet_text_and_cache_agree(modelnet, tmp_path):
    root = shutil.copytree(modelnet, tmp_path / "copy")
    text = ModelNet40(root, "test", use_normals=True)
    assert text.cache is None
    for split in ("train", "test"):
        build_modelnet_cache(root, split)
    cached = ModelNet40(root, "test", use_normals=True)
    assert cached.cache is not None
    assert len(text) == len(cached) > 0
    for index in range(len(text)):
        torch.testing.assert_close(text[index], cached[index])
    sample = cached[0]
    stored = np.loadtxt(text.sample_name(0), delimiter=",")
    np.testing.assert_allclose(sample["points"][:, :3], official_normalization(stored[:, :3]), atol=1e-5)
    np.testing.assert_allclose(sample["points"][:, 3:], stored[:, 3:], atol=1e-6)
    assert cached.classes[int(sample["label"])] == cached.names[0].rsplit("_", 1)[0]
    assert "modelnet40_test_8192pts_fps.dat[0]" in cached.sample_name(0)
    train = ModelNet40(root, "train")
    stored = np.asarray(train._clouds[1])[:, :3]
    normalized = official_normalization(stored)
    shuffled = train[1]["points"].double().numpy()
    assert not np.allclose(shuffled, normalized, atol=1e-5)
    np.testing.assert_allclose(np.sort(shuffled[:, 0]), np.sort(normalized[:, 0]), atol=1e-5)


def test_modelnet_cache_is_the_published_pickle(modelnet, tmp_path):
    root = shutil.copytree(modelnet, tmp_path / "copy")
    with build_modelnet_cache(root, "train").open("rb") as file:
        points, labels = pickle.load(file)
    assert points[0].dtype == np.float32
    assert points[0].shape == (300, 6)
    assert labels[0].dtype == np.int32
    assert labels[0].shape == (1,)
    assert not list(root.glob(".*"))


def test_modelnet_refuses_wrong_lists_and_caches(modelnet, tmp_path):
    root = shutil.copytree(modelnet, tmp_path / "copy")
    cloud = np.zeros((8, 6), dtype=np.float32)
    cache = root / "modelnet40_test_8192pts_fps.dat"
    save_array_pickle([[cloud], [np.array([0])]], cache)
    with pytest.raises(DataError, match=r"holds 1 clouds, the list \d+"):
        ModelNet40(root, "test")
    save_array_pickle({"points": 1}, cache)
    with pytest.raises(DataError, match="expected two lists"):
        ModelNet40(root, "test")
    count = len(ModelNet40(root, "test", source="text"))
    save_array_pickle([[cloud] * count, [np.array([77])] * count], cache)
    with pytest.raises(DataError, match=r"label 77 is outside 0\.\."):
        ModelNet40(root, "test")[0]
    with (root / "modelnet40_test.txt").open("a") as file:
        file.write("unicorn_0001\n")
    with pytest.raises(DataError, match="'unicorn_0001' is of none of the"):
        ModelNet40(root, "test")


def test_modelnet_reduces_long_text_files_from_a_seeded_start(tmp_path):
    root = tmp_path / "modelnet"
    layouts.write_modelnet40(root, 2, points=8200)
    data = ModelNet40(root, "train")
    assert data[0]["points"].shape == (8192, 3)
    np.testing.assert_array_equal(data.load_cloud(0).points, ModelNet40(root, "train").load_cloud(0).points)
    build_modelnet_cache(root, "train")
    np.testing.assert_array_equal(ModelNet40(root, "train").load_cloud(0).points, data.load_cloud(0).points)
