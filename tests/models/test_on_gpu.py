"""Every registered model on a CUDA device: the numbers of the CPU, the same numbers twice, half precision, compiled."""

import math

import pytest
import torch
from mmengine.optim import OptimWrapper

from tests.models.batches import example_batch
from tests.models.test_conformance import MODEL_NAMES, build, frames, hides_tokens, loss_of

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _full_precision():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    return


@pytest.fixture(params=MODEL_NAMES)
def name(request):
    return request.param


def on_device(batch):
    return {key: value.cuda() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}


def replayed_mask(name, model, batch):
    """A mask drawn on the CPU: random streams differ between devices."""
    if not hides_tokens(name):
        return {}
    return {"mask": model.predict_masked(**frames(model, batch), generator=torch.Generator().manual_seed(4)).mask}


def test_losses_and_gradients_are_those_of_the_cpu(name):
    options = {"target_select": "arrival"} if name in ("gd_mae_test", "t_mae_test") else {}  # no random targets
    model = build(name, **options).eval()
    batch = example_batch(model)
    injected = replayed_mask(name, model, batch)
    if not torch.equal(loss_of(model, batch, 1, **injected), loss_of(model, batch, 2, **injected)):
        pytest.skip("the loss draws noise, and random streams differ between devices")
    twin = build(name, **options).eval().cuda()
    moved = {key: value.to("cuda") for key, value in injected.items()}
    expected, got = loss_of(model, batch, **injected), loss_of(twin, on_device(batch), **moved)
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-4, atol=1e-5)
    expected.backward()
    got.backward()
    for (key, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        if ours.grad is not None:
            scale = ours.grad.abs().max().item() + 1e-6
            difference = (theirs.grad.cpu() - ours.grad).abs().max().item()
            assert difference < 2e-3 * scale, f"gradient of {key}: {difference} beside {scale}"


def test_same_seed_same_loss(name):
    first, second = build(name).train().cuda(), build(name).train().cuda()
    batch = on_device(example_batch(first))
    torch.testing.assert_close(loss_of(first, batch, 5), loss_of(second, batch, 5), rtol=1e-6, atol=1e-7)


def test_loss_falls_in_bfloat16(name):
    model = build(name).train().cuda()
    batch = on_device(example_batch(model))
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), 4e-3))
    losses = []
    for _ in range(8):
        torch.manual_seed(1)
        with torch.autocast("cuda", torch.bfloat16):
            log = model.train_step(dict(batch), optimizer)
        losses.append(log["loss"].item())
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.95 * losses[0], losses


def test_predictions_are_finite(name):
    model = build(name).eval().cuda()
    batch = on_device(example_batch(model))
    with torch.no_grad():
        predictions = model(**batch, mode="predict")
    assert all(value.isfinite().all() for row in predictions for value in row.values() if torch.is_tensor(value))
