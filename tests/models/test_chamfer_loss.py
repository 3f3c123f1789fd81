import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.losses import ChamferLoss


@pytest.mark.parametrize("form", ["cdl1", "cdl2"])
def test_loss_is_the_definition(form):
    a = torch.randn(2, 3, 5, 3, requires_grad=True)
    b = torch.randn(2, 3, 4, 3)
    squared = (a[..., :, None, :] - b[..., None, :, :]).square().sum(-1)
    near = squared.amin(-1), squared.amin(-2)
    expected = near[0].mean() + near[1].mean()
    if form == "cdl1":
        expected = (near[0].sqrt().mean() + near[1].sqrt().mean()) / 2
    loss = ChamferLoss(form)(a, b)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, a), torch.autograd.grad(expected, a))


@pytest.mark.parametrize("form", ["cdl1", "cdl2"])
def test_equal_sets_cost_nothing_and_have_finite_gradient(form):
    a = torch.randn(4, 6, 3)
    moved = a[:, torch.randperm(6)].requires_grad_()
    loss = ChamferLoss(form)(moved, a)
    loss.backward()
    assert loss.item() == 0.0
    assert moved.grad.isfinite().all()


def test_half_precision_prediction_is_compared_in_float32():
    a, b = torch.randn(2, 4, 3), torch.randn(2, 4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        loss = ChamferLoss()(a.bfloat16(), b)
    assert loss.dtype == torch.float32


def test_unknown_form_is_named():
    with pytest.raises(ConfigError, match="form must be"):
        ChamferLoss("emd")
