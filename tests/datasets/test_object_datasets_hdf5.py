"""ScanObjectNN and the HDF5 form of ModelNet40, on simulated files in their layouts."""

import shutil

import h5py
import numpy as np
import pytest
import torch

from mae3d.datasets.objects import ModelNet40HDF5, ScanObjectNN
from mae3d.datasets.objects.scanobjectnn import CLASSES, VARIANTS
from mae3d.datasets.simulators.objects.layouts import write_modelnet40_hdf5
from mae3d.datasets.simulators.objects.scans import crop_scan, simulate_scan, visible_points, write_scanobjectnn
from mae3d.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "ScanObjectNN"
    write_scanobjectnn(root, 30)
    return root


@pytest.fixture(scope="module")
def modelnet(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "modelnet40_ply_hdf5_2048"
    write_modelnet40_hdf5(root, 60)
    return root


def test_each_variant_and_split(scans):
    for variant, copies in (("OBJ_BG", 1), ("OBJ_ONLY", 1), ("PB_T50_RS", 5)):
        for split in ("train", "test"):
            data = ScanObjectNN(scans, split, variant=variant)
            assert len(data) == 15 * copies
            assert data[0]["points"].shape == (2048, 3)
            assert data.classes == CLASSES
            assert sorted(np.unique(data.labels)) == list(range(15))


def test_test_clouds_keep_file_order_and_training_shuffles(scans):
    test = ScanObjectNN(scans, "test", variant="OBJ_BG")
    with h5py.File(scans / "main_split" / "test_objectdataset.h5") as file:
        stored, labels = file["data"][:], file["label"][:]
    np.testing.assert_array_equal(test[4]["points"], stored[4])
    assert test[4]["label"] == labels[4]
    train = ScanObjectNN(scans, variant="OBJ_BG")
    shuffled = train[4]["points"].numpy()
    assert not np.array_equal(shuffled, train.clouds[4])
    np.testing.assert_array_equal(np.sort(shuffled, axis=0), np.sort(train.clouds[4], axis=0))
    train.set_epoch(1)
    assert not np.array_equal(shuffled, train[4]["points"])


def test_level_of_the_archive(scans, tmp_path):
    shutil.copytree(scans / "main_split", tmp_path / "h5_files" / "main_split")
    torch.testing.assert_close(
        ScanObjectNN(tmp_path, "test")[0]["points"], ScanObjectNN(scans, "test")[0]["points"], rtol=0, atol=0
    )


def test_missing_variant_wrong_names_and_damaged_files(scans, tmp_path):
    with pytest.raises(DataError, match=r"training_objectdataset_augmentedrot.h5: file is missing"):
        ScanObjectNN(scans, variant="PB_T50_R")
    with pytest.raises(ConfigError, match="variant must be one of OBJ_BG, OBJ_ONLY"):
        ScanObjectNN(scans, variant="hardest")
    root = shutil.copytree(scans, tmp_path / "copy")
    path = root / "main_split" / "test_objectdataset.h5"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match="not a readable HDF5 file"):
        ScanObjectNN(root, "test", variant="OBJ_BG")
    with h5py.File(path, "w") as file:
        file["data"] = np.zeros((3, 2048, 3))
    with pytest.raises(DataError, match=r"lacks the arrays \['label'\], it holds \['data'\]"):
        ScanObjectNN(root, "test", variant="OBJ_BG")
    with h5py.File(path, "a") as file:
        file["label"] = np.array([0, 15, 2])
    with pytest.raises(DataError, match=r"test_objectdataset.h5\[1\]: label 15 is outside 0\.\.14"):
        ScanObjectNN(root, "test", variant="OBJ_BG")[1]


def test_variants_differ_as_their_names_say():
    scan = simulate_scan("chair", np.random.default_rng(0))
    clouds = {variant: crop_scan(scan, variant, np.random.default_rng(1)) for variant in VARIANTS}
    for points, mask in clouds.values():
        assert points.shape == (2048, 3)
        assert points.dtype == np.float32
        assert np.linalg.norm(points, axis=1).max() == pytest.approx(1, abs=1e-5)
        assert (mask == 0).sum() >= 64
    assert (clouds["OBJ_ONLY"][1] == 0).all()
    assert (clouds["OBJ_BG"][1] == -1).any()


def test_a_camera_sees_one_side_and_nothing_behind():
    generator = np.random.default_rng(0)
    wall = np.stack([*generator.uniform(-1, 1, (2, 4000)), np.zeros(4000)], axis=1)
    points = np.concatenate([wall, wall - np.array([0, 0, 1])])
    normals = np.broadcast_to([0.0, 0.0, 1.0], points.shape)
    seen = visible_points(points, normals, np.array([0, 0, 2.0]), step=0.04)
    assert seen[:4000].mean() > 0.95
    assert seen[4000:].mean() < 0.05
    assert not visible_points(points, -normals, np.array([0, 0, 2.0])).any()


def test_modelnet_takes_the_first_points_unnormalised(modelnet):
    data = ModelNet40HDF5(modelnet, "test", npoints=1000)
    with h5py.File(modelnet / "ply_data_test0.h5") as file:
        stored, labels = file["data"][:], file["label"][:]
    assert labels.shape == (len(data), 1)
    for index in (0, len(data) - 1):
        np.testing.assert_array_equal(data[index]["points"], stored[index, :1000])
        assert data[index]["label"] == labels[index, 0]
    assert data.sample_name(1).endswith("ply_data_test0.h5[1]")
    assert data.classes[0] == "airplane"


def test_modelnet_joins_files_in_order(modelnet, tmp_path):
    root = shutil.copytree(modelnet, tmp_path / "copy")
    with h5py.File(root / "ply_data_test1.h5", "w") as file:
        file["data"] = np.full((2, 2048, 3), 0.5, dtype=np.float32)
        file["label"] = np.array([[3], [4]], dtype=np.uint8)
    first, data = ModelNet40HDF5(modelnet, "test"), ModelNet40HDF5(root, "test")
    assert len(data) == len(first) + 2
    assert data[len(first) + 1]["label"] == 4
    assert data.sample_name(len(first) + 1).endswith("ply_data_test1.h5[1]")
    for path in root.glob("ply_data_train*"):
        path.unlink()
    with pytest.raises(DataError, match=r"no file ply_data_train\*\.h5"):
        ModelNet40HDF5(root)
