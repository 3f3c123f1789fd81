import numpy as np
import pytest

from mae3d.datasets import HeldOut
from mae3d.datasets.objects import SimulatedObjects
from mae3d.engine.sampling import SampleKey
from mae3d.errors import ConfigError


@pytest.fixture(scope="module")
def objects():
    return SimulatedObjects(count=20, npoints=32, stored_points=64)


def test_parts_are_disjoint_and_complete(objects):
    training, validation = HeldOut(objects, "train", fraction=0.3), HeldOut(objects, "validation", fraction=0.3)
    total = len(objects)
    assert len(validation) == round(0.3 * total)
    assert sorted([*training.rows, *validation.rows]) == list(range(total))
    assert HeldOut(objects, "train", fraction=0.3).rows.tolist() == training.rows.tolist()
    assert HeldOut(objects, "train", fraction=0.3, seed=1).rows.tolist() != training.rows.tolist()
    assert training.classes == objects.classes


def test_samples_are_those_of_the_data_set_inside(objects):
    part = HeldOut(objects, "validation", fraction=0.3)
    row = int(part.rows[2])
    for seed in (5, 6):
        ours, direct = part[SampleKey(2, seed)], objects[SampleKey(row, seed)]
        assert ours["index"] == row
        np.testing.assert_array_equal(ours["points"], direct["points"])
    assert not np.array_equal(part[SampleKey(2, 5)]["points"], part[SampleKey(2, 6)]["points"])
    assert part.sample_name(row) == objects.sample_name(row)


def test_wrong_divisions_are_named(objects):
    with pytest.raises(ConfigError, match='part must be "train" or "validation"'):
        HeldOut(objects, "test")
    with pytest.raises(ConfigError, match=r"fraction=1.0 gives validation .* of"):
        HeldOut(objects, "train", fraction=1.0)
