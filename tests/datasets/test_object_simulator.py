"""Simulated objects: every class builds, parts are complete, numbers depend on the seed alone."""

import numpy as np
import pytest

from mae3d.datasets.objects import SimulatedObjects
from mae3d.datasets.objects.shapenet_synsets import PART_RANGES, SHAPENET_NAMES
from mae3d.datasets.simulators.objects import CATEGORIES
from mae3d.datasets.simulators.objects.generate import find_categories, object_generator, simulate_cloud, simulate_mesh
from mae3d.errors import ConfigError


def test_there_are_enough_classes_and_all_of_shapenetpart():
    assert len(CATEGORIES) >= 40
    assert {name.lower() for name in PART_RANGES} <= set(CATEGORIES)
    for name, labels in PART_RANGES.items():
        assert len(CATEGORIES[name.lower()].parts) == len(labels)
    assert len(SHAPENET_NAMES) == 55


@pytest.mark.parametrize("name", sorted(CATEGORIES))
def test_class(name):
    category = CATEGORIES[name]
    parts = set()
    areas = []
    for number in range(12):
        mesh = simulate_mesh(category, object_generator(0, name, number))
        assert np.isfinite(mesh.vertices).all()
        parts |= set(mesh.part.tolist())
        areas.append(mesh.areas().sum())
    assert parts == set(range(len(category.parts))), "each part is seen in some object"
    assert np.std(areas) / np.mean(areas) > 0.03, "objects of a class differ"
    cloud = simulate_cloud(category, object_generator(0, name, 3), 1024)
    assert cloud.points.dtype == cloud.normals.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(cloud.points.mean(axis=0), 0, atol=1e-5)
    assert np.linalg.norm(cloud.points, axis=1).max() == pytest.approx(1, abs=1e-5)
    again = simulate_cloud(category, object_generator(0, name, 3), 1024)
    np.testing.assert_array_equal(cloud.points, again.points)


def test_unknown_class_is_named():
    with pytest.raises(ConfigError, match="no simulated category unicorn; there are: airplane"):
        find_categories(["chair", "unicorn"])


def test_data_set_in_memory():
    data = SimulatedObjects(
        10, categories=["chair", "mug", "airplane"], npoints=64, stored_points=128, use_normals=True
    )
    assert data.classes == ("airplane", "chair", "mug")
    sample = data[4]
    assert sample["points"].shape == (64, 6)
    assert sample["label"] == 1
    assert set(sample["part_label"].tolist()) <= set(range(4, 8))
    assert data.sample_name(4) == "simulated train chair 1"
    test = SimulatedObjects(10, "test", categories=["chair", "mug", "airplane"], npoints=64, stored_points=128)
    assert not np.array_equal(test[4]["points"], sample["points"][:, :3])


def test_turned_objects_cover_all_angles():
    category = CATEGORIES["guitar"]
    angles = []
    for number in range(40):
        points = simulate_cloud(category, object_generator(1, "guitar", number), 512, turned=True).points
        flat = np.linalg.svd(points[:, [0, 2]])[2][0]
        angles.append(np.degrees(np.arctan2(flat[1], flat[0])) % 180)
    assert np.histogram(angles, 4, (0, 180))[0].min() >= 3
