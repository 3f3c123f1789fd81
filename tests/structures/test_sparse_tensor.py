import pytest
import torch

from mae3d.errors import OperatorInputError
from mae3d.ops import build_rulebook
from mae3d.structures import SparseTensor


def random_dense(shape=(2, 3, 5, 6, 7), share=0.2):
    g = torch.Generator().manual_seed(0)
    occupied = torch.rand(shape[0], 1, *shape[2:], generator=g) < share
    return torch.randn(shape, generator=g) * occupied


@pytest.mark.parametrize("shape", [(2, 3, 5, 6, 7), (1, 4, 8, 9), (3, 2, 11)])
def test_dense_and_back(shape):
    dense = random_dense(shape)
    sparse = SparseTensor.from_dense(dense)
    assert sparse.spatial_shape == shape[2:]
    assert sparse.batch_size == shape[0]
    assert len(sparse) == int((dense != 0).any(dim=1).sum())
    assert torch.equal(sparse.dense(), dense)


def test_rows_may_come_in_any_order():
    sparse = SparseTensor.from_dense(random_dense())
    order = torch.randperm(len(sparse))
    mixed = SparseTensor(sparse.features[order], sparse.coordinates[order].long(), sparse.spatial_shape, 2)
    assert mixed.coordinates.dtype == torch.int32
    assert torch.equal(mixed.dense(), sparse.dense())


def test_dense_is_differentiable():
    sparse = SparseTensor.from_dense(random_dense((1, 2, 3, 4)).double())
    features = sparse.features.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda f: sparse.replace_features(f).dense(), features)


def test_empty():
    sparse = SparseTensor(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.int32), (2, 3, 4), 2)
    assert sparse.dense().shape == (2, 4, 2, 3, 4)
    assert len(SparseTensor.from_dense(torch.zeros(2, 4, 2, 3, 4))) == 0


def test_rule_books_are_shared_by_replacement_and_dropped_by_moving():
    sparse = SparseTensor.from_dense(random_dense())
    sparse.rulebooks["a"] = build_rulebook(sparse.coordinates, sparse.spatial_shape, 2, kernel_size=3, submanifold=True)
    assert sparse.replace_features(sparse.features * 2).rulebooks is sparse.rulebooks
    moved = sparse.to("cpu")
    assert moved.rulebooks == {}
    assert moved.trusted
    assert moved.device.type == "cpu"


def test_faults_are_named():
    features, coordinates = torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int32)
    with pytest.raises(OperatorInputError, match=r"call \.int\(\)"):
        SparseTensor(features, coordinates.float(), (2, 3, 4), 1)
    with pytest.raises(OperatorInputError, match=r"'coordinates' \[V, 3\]"):
        SparseTensor(features, coordinates, (3, 4), 1)
    with pytest.raises(OperatorInputError, match="'features' must be"):
        SparseTensor(features[:2], coordinates, (2, 3, 4), 1)
