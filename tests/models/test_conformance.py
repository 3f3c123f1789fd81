"""What every registered model keeps to. A model is covered from the day its ``<name>_test`` variant is registered."""

import copy
import inspect
import io
import math
from pathlib import Path

import pytest
import torch
from mmengine.optim import OptimWrapper

import mae3d.models  # noqa: F401  (registers)
from mae3d.registry import MODELS
from mae3d.structures import RaggedMask, VoxelMask
from tests.models.batches import example_batch

MODEL_NAMES = sorted(name for name in MODELS.module_dict if name.endswith("_test"))
GOLDEN = Path(__file__).parent / "golden"


def build(name, seed=0, **options):
    torch.manual_seed(seed)
    return MODELS.build({"type": name, **options})


def loss_of(model, batch, seed=0, **injected):
    torch.manual_seed(seed)
    losses = model(**batch, mode="loss", **injected)
    return sum(value for name, value in losses.items() if "loss" in name)


def hides_tokens(name):
    with torch.device("meta"):
        return hasattr(build(name), "masking")


def inputs(model, batch):
    """What tokenizers and ``predict_masked`` take of a batch: the field of the modality, or points and offsets."""
    if "offsets" in batch:
        packed = ("points", "tokens", "offsets", "words")
        return {name: batch[name] for name in packed if name in batch}
    return {"inputs": batch[model.modality]}


def frames(model, batch):
    """What ``predict_masked`` takes of a batch: its points and, for two-frame models, those of the previous frame."""
    return inputs(model, batch) | {key: batch[key] for key in getattr(model, "context", ())}


def tensors(value):
    """The tensors in a tensor, or in a (named) tuple of tensors and Nones."""
    return [value] if isinstance(value, torch.Tensor) else [item for item in value if item is not None]


@pytest.fixture(params=MODEL_NAMES)
def name(request):
    return request.param


@pytest.fixture(params=[name for name in MODEL_NAMES if hides_tokens(name)])
def pretraining(request):
    return request.param


def test_the_suite_covers_something():
    assert {"point_mae_test", "point_mae_classifier_test", "point_mae_segmenter_test"} <= set(MODEL_NAMES)


def test_three_modes(name):
    model = build(name).eval()
    batch = example_batch(model)
    with torch.no_grad():
        losses = model(**batch, mode="loss")
        predictions = model(**batch, mode="predict")
        output = model(**batch, mode="tensor")
    assert any("loss" in key for key in losses)
    assert all(value.isfinite().all() for value in losses.values())
    assert len(predictions) == len(batch["index"])
    assert all(value.isfinite().all() for row in predictions for value in row.values())
    assert output.isfinite().all()


def test_gradients_reach_every_trainable_parameter(name):
    model = build(name).train()
    loss_of(model, example_batch(model)).backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)


def test_loss_falls_in_a_few_steps(name):
    model = build(name).train()
    batch = example_batch(model)
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), 4e-3))
    losses = []
    for _ in range(8):
        torch.manual_seed(1)  # the same mask, drop path and dropout in every step
        losses.append(model.train_step(dict(batch), optimizer)["loss"].item())
    assert all(math.isfinite(loss) for loss in losses)
    assert losses[-1] < 0.9 * losses[0], losses


def test_masks_are_exact(pretraining):
    model = build(pretraining)
    if model.modality == "tokens":
        pytest.skip("text is packed: tests of its own count")
    tokens = model.tokenizer(*inputs(model, example_batch(model)).values())
    mask = model.masking(tokens, torch.Generator().manual_seed(0))
    if isinstance(mask, VoxelMask):  # ragged: tests/models/test_voxel_masking.py counts
        every = torch.cat((mask.visible, mask.masked)).sort().values
        assert torch.equal(every, torch.arange(len(tokens)))
        return
    if isinstance(mask, RaggedMask):  # tests/models/test_ragged_masking.py counts
        assert mask.masked.shape == tokens.coordinates.shape[:2]
        assert mask.masked.any(dim=1).all()
        return
    count = tokens.coordinates.shape[1]
    assert mask.num_masked == model.masking.masked_tokens(tokens) > 0
    assert (mask.visible.diff() > 0).all()
    assert (mask.masked.diff() > 0).all()
    every = torch.cat((mask.visible, mask.masked), dim=1).sort(dim=1).values
    assert torch.equal(every, torch.arange(count).expand_as(every))


def test_same_seed_same_numbers(name):
    first, second = build(name, seed=3), build(name, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values()))
    batch = example_batch(first)
    assert torch.equal(loss_of(first.train(), batch, 5), loss_of(second.train(), batch, 5))


def test_another_seed_draws_another_mask(pretraining):
    model = build(pretraining).eval()
    given = frames(model, example_batch(model))
    first, second = (model.predict_masked(**given, generator=torch.Generator().manual_seed(s)) for s in (1, 2))
    pairs = zip(tensors(first.prediction), tensors(second.prediction), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)


def test_a_drawn_mask_can_be_injected(pretraining):
    model = build(pretraining).eval()
    given = frames(model, example_batch(model))
    drawn = model.predict_masked(**given, generator=torch.Generator().manual_seed(4))
    replayed = model.predict_masked(**given, mask=drawn.mask)
    assert replayed.mask is drawn.mask
    for first, second in ((drawn.prediction, replayed.prediction), (drawn.target, replayed.target)):
        assert all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


def test_state_dict_round_trip(name):
    model = build(name, seed=0).train()
    batch = example_batch(model)
    loss_of(model, batch)  # moves running statistics
    stored = io.BytesIO()
    torch.save(model.state_dict(), stored)
    stored.seek(0)
    other = build(name, seed=1)
    other.load_state_dict(torch.load(stored, weights_only=True))
    assert torch.equal(loss_of(model.eval(), batch), loss_of(other.eval(), batch))


def test_copies_are_independent(name):
    model = build(name)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    batch = example_batch(model)
    assert torch.equal(loss_of(model.eval(), batch), loss_of(build(name).eval(), batch))


def test_bfloat16_autocast(name):
    model = build(name).train()
    batch = example_batch(model)
    plain = loss_of(copy.deepcopy(model), batch)
    with torch.autocast("cpu", torch.bfloat16):
        loss = loss_of(model, batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(plain.item(), rel=0.05)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)


def test_encoder_compiles_without_a_break(name):
    torch.compiler.reset()
    model = build(name).eval()
    batch = example_batch(model)
    expected = loss_of(model, batch)
    if any(field.endswith("offsets") for field in batch):
        pytest.skip("packed attention reads the lengths of the samples back from the device")
    if hasattr(model, "token_masking"):
        model.token_masking = None  # visible sets are packed, see above
        expected = loss_of(model, batch)
    model.encoder.compile(fullgraph=True, backend="aot_eager")
    if getattr(model, "decoder", None) is not None:
        getattr(model.decoder, "transformer", model.decoder).compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(loss_of(model, batch), expected)


def test_gradient_checkpointing_changes_nothing(name):
    with torch.device("meta"):
        model = build(name)
    if "gradient_checkpointing" not in inspect.signature(type(model)).parameters:
        pytest.skip(f"{type(model).__name__} has no gradient checkpointing")
    gradients = []
    for checkpointing in (False, True):
        model = build(name, gradient_checkpointing=checkpointing).train()
        loss_of(model, example_batch(model)).backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_every_parameter_has_a_layer(name):
    model = build(name)
    layers = {n: model.get_layer_depth(n) for n, _ in model.named_parameters()}
    (total,) = {count for _, count in layers.values()}
    assert {layer for layer, _ in layers.values()} == set(range(total))


def test_weight_names_are_those_that_files_hold(name):
    """Renaming a tensor breaks every stored file: change the list on purpose, with tests/models/write_golden.py."""
    assert (GOLDEN / f"{name}.txt").read_text().splitlines() == describe(build(name))


def describe(model):
    return [f"{key} {list(value.shape)}" for key, value in model.state_dict().items()]
