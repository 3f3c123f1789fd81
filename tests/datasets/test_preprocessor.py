"""The batch preprocessor: stacking, phases, seeds."""

import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate

from mae3d.datasets.objects import SimulatedObjects
from mae3d.datasets.preprocessor import BatchPreprocessor
from mae3d.datasets.transforms import ScaleAndTranslate
from mae3d.errors import ConfigError, DataError
from mae3d.registry import MODELS


@pytest.fixture(scope="module")
def samples():
    data = SimulatedObjects(6, categories=["chair", "mug"], npoints=32, stored_points=64)
    return [data[i] for i in range(6)]


def test_both_collations_give_the_same_batch(samples):
    preprocessor = BatchPreprocessor()
    stacked, listed = preprocessor(default_collate(samples)), preprocessor(pseudo_collate(samples))
    torch.testing.assert_close(stacked, listed)
    assert stacked["points"].shape == (6, 32, 3)
    assert stacked["label"].dtype == stacked["index"].dtype == torch.int64
    assert stacked["index"].tolist() == list(range(6))


def test_phases_and_registry(samples):
    preprocessor = MODELS.build(
        {
            "type": BatchPreprocessor,
            "train_transforms": [{"type": "ScaleAndTranslate"}],
            "test_transforms": [{"type": "SampleFarthest", "npoints": 8}],
        }
    )
    batch = default_collate(samples)
    before = batch["points"].clone()
    trained, tested = preprocessor(batch, training=True), preprocessor(batch)
    assert trained["points"].shape == (6, 32, 3)
    assert not torch.equal(trained["points"], before)
    assert tested["points"].shape == (6, 8, 3)
    torch.testing.assert_close(batch["points"], before)


def test_draws_follow_the_seed_or_the_global_generator(samples):
    batch = default_collate(samples)
    own = [BatchPreprocessor([ScaleAndTranslate()], seed=3)(batch, True)["points"] for _ in range(2)]
    torch.testing.assert_close(*own)
    shared = BatchPreprocessor([ScaleAndTranslate()])
    torch.manual_seed(1)
    first = shared(batch, True)["points"]
    second = shared(batch, True)["points"]
    torch.manual_seed(1)
    torch.testing.assert_close(first, shared(batch, True)["points"])
    assert not torch.equal(first, second)


def test_clouds_of_unequal_size_are_explained(samples):
    ragged = [samples[0], {**samples[1], "points": samples[1]["points"][:20]}]
    with pytest.raises(DataError, match=r"'points' differ in shape: \[\(20, 3\), \(32, 3\)\]"):
        BatchPreprocessor()(pseudo_collate(ragged))


def test_one_transform_instead_of_a_list_is_refused():
    with pytest.raises(ConfigError, match="train_transforms must be a list"):
        BatchPreprocessor(ScaleAndTranslate())
