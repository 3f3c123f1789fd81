import pytest
import torch

from mae3d.structures import PointCloud, Reconstruction, Tokens


def test_list_round_trip():
    clouds = [torch.randn(4, 5), torch.randn(0, 5), torch.randn(7, 5)]
    packed = PointCloud.from_list(clouds)
    assert packed.batch_size == 3
    assert packed.counts.tolist() == [4, 0, 7]
    assert packed.features.shape == (11, 2)
    for own, back in zip(clouds, packed.to("cpu").unpack()):
        assert torch.equal(own, back)


def test_coordinates_alone():
    packed = PointCloud.from_list([torch.randn(4, 3)])
    assert packed.features is None
    assert packed.unpack()[0].shape == (4, 3)


@pytest.mark.parametrize(
    ("points", "offsets", "features", "message"),
    [
        (torch.zeros(4, 2), torch.tensor([0, 4]), None, "must have shape"),
        (torch.zeros(4, 3), torch.tensor([0.0, 4.0]), None, "must be int64"),
        (torch.zeros(4, 3), torch.tensor([0, 4]), torch.zeros(3, 1), "one row per point"),
    ],
)
def test_wrong_fields_are_named(points, offsets, features, message):
    with pytest.raises(ValueError, match=message):
        PointCloud(points, offsets, features)


def test_empty_list_is_refused():
    with pytest.raises(ValueError, match="at least one cloud"):
        PointCloud.from_list([])


def test_tokens_and_reconstruction_move_whole():
    tokens = Tokens(torch.zeros(5, 4), torch.zeros(5, 3), torch.zeros(5, 8, 3), torch.tensor([0, 2, 5]))
    assert tokens.batch_size == 2
    assert tokens.to("meta").offsets.is_meta
    dense = Tokens(torch.zeros(3, 5, 4), torch.zeros(3, 5, 3), torch.zeros(3, 5, 8, 3))
    assert dense.batch_size == 3
    assert dense.to("meta").offsets is None
    clouds = Reconstruction(torch.zeros(1, 4, 3), torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)).to("meta")
    assert clouds.original.is_meta
    assert clouds.visible.is_meta
    assert clouds.predicted.is_meta
