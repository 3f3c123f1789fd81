import pytest
import torch

from mae3d.structures import Mask


def random_bool(batch, tokens, masked, seed=0):
    order = torch.rand(batch, tokens, generator=torch.Generator().manual_seed(seed)).argsort(1)
    return torch.zeros(batch, tokens, dtype=torch.bool).scatter(1, order[:, :masked], True)


def test_gathers_equal_boolean_indexing():
    hidden = random_bool(5, 17, 6)
    values = torch.randn(5, 17, 2, 3)
    mask = Mask.from_bool(hidden)
    assert torch.equal(mask.gather_visible(values), values[~hidden].reshape(5, 11, 2, 3))
    assert torch.equal(mask.gather_masked(values), values[hidden].reshape(5, 6, 2, 3))


def test_round_trips():
    hidden = random_bool(3, 10, 4)
    mask = Mask.from_bool(hidden)
    values = torch.randn(3, 10, 7)
    assert torch.equal(mask.to_bool(), hidden)
    assert torch.equal(mask.restore(mask.gather_visible(values), mask.gather_masked(values)), values)
    assert (mask.num_visible, mask.num_masked, mask.num_tokens) == (6, 4, 10)
    moved = mask.to("cpu")
    assert torch.equal(moved.visible, mask.visible)


def test_indices_ascend():
    mask = Mask.from_bool(random_bool(4, 32, 20))
    assert (mask.visible.diff() > 0).all()
    assert (mask.masked.diff() > 0).all()


def test_none_hides_nothing():
    mask = Mask.none(2, 5)
    values = torch.randn(2, 5, 3)
    assert torch.equal(mask.gather_visible(values), values)
    assert mask.gather_masked(values).shape == (2, 0, 3)
    assert not mask.to_bool().any()


def test_empty_batch():
    mask = Mask.from_bool(torch.zeros(0, 5, dtype=torch.bool))
    assert mask.num_tokens == 5


def test_gather_gradient_reaches_each_row_once():
    mask = Mask.from_bool(random_bool(2, 6, 3))
    values = torch.randn(2, 6, 4, requires_grad=True)
    (mask.gather_visible(values).sum() + 2 * mask.gather_masked(values).sum()).backward()
    assert torch.equal(values.grad, (mask.to_bool() + 1.0)[..., None].expand(2, 6, 4))


def test_ragged_rows_are_refused():
    hidden = torch.tensor([[True, False], [True, True]])
    with pytest.raises(ValueError, match=r"same number .* got \[1, 2\]"):
        Mask.from_bool(hidden)


@pytest.mark.parametrize("index", [torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64)])
def test_wrong_indices_are_refused(index):
    with pytest.raises(ValueError, match="must be int64"):
        Mask(index, torch.zeros(2, 3, dtype=torch.int64))


def test_rows_must_agree():
    with pytest.raises(ValueError, match="one row per sample"):
        Mask(torch.zeros(2, 3, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64))
