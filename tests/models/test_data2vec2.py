"""data2vec 2.0: the properties of its specification, and equality with its restatement."""

import copy

import pytest
import torch

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError, DataError
from mae3d.models.masking import MultiBlockMasking, RandomMasking, draw_copies
from mae3d.models.methods import (
    Data2Vec2Image,
    data2vec2_image_base,
    data2vec2_image_huge,
    data2vec2_image_large,
    data2vec2_image_test,
)
from mae3d.models.targets import LayerAverage
from mae3d.structures import Mask, Tokens
from tests.oracles import data2vec2 as oracle
from tests.oracles import data2vec2_states as states

DECODER = {"dim": 24, "layers": 3, "kernel": 3, "groups": 4}
SIZE = {"embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 8, "target_layers": 2}


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def official_image(width=24, kernel=3):
    decoder = {**DECODER, "dim": width, "kernel": kernel}
    state = states.image_state(32, 1, 3, patch=8, side=4, decoder=decoder)
    options = {"decoder_dim": width, "decoder_depth": 3, "decoder_kernel": kernel, "decoder_groups": 4}
    model = Data2Vec2Image(image_size=32, **SIZE, **options, mask_noise=0.0, masks_per_sample=3)
    model.load_state_dict(convert("data2vec2", state).state)
    return model.double().eval(), {name: value.double() for name, value in state.items()}


def removed(rows, count=16, hidden=10, seed=3):
    draws = torch.rand(rows, count, generator=torch.Generator().manual_seed(seed))
    return draws.argsort(1).argsort(1) < hidden


# Equality with the restated official forward


@pytest.mark.parametrize(("width", "kernel"), [(24, 3), (32, 5)], ids=["first-block-plain", "residual-everywhere"])
def test_images_equal_the_restatement(width, kernel):
    model, state = official_image(width, kernel)
    hidden, images = removed(6), draw(2, 3, 32, 32)
    expected = oracle.image(images, hidden, state, heads=2, last=2, class_weight=0.01)
    mask = Mask.from_bool(hidden)
    result = model.predict_masked(images, mask)
    torch.testing.assert_close(result.prediction, mask.gather_masked(expected["prediction"]))
    torch.testing.assert_close(result.target, mask.gather_masked(expected["target"].repeat_interleave(3, 0)))
    latents = model.encode(model.tokenizer(images), mask)
    torch.testing.assert_close(latents, expected["latents"])
    losses = model.compute_loss(images, mask)
    torch.testing.assert_close(losses["loss"], expected["regression"], check_dtype=False)
    torch.testing.assert_close(losses["loss_class"], expected["cls"], check_dtype=False)


def test_image_gradients_equal_the_restatement():
    model, state = official_image()
    hidden, images = removed(6), draw(2, 3, 32, 32)
    leaves = {name: value.clone().requires_grad_(not name.startswith("_ema")) for name, value in state.items()}
    expected = oracle.image(images, hidden, leaves, heads=2, last=2, class_weight=0.01)
    (expected["regression"] + expected["cls"]).backward()
    losses = model.compute_loss(images, Mask.from_bool(hidden))
    (losses["loss"] + losses["loss_class"]).backward()
    gradients = {n: torch.zeros_like(v) if v.grad is None else v.grad for n, v in leaves.items()}
    ours = convert("data2vec2", gradients).state
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, ours[name], msg=name)


def test_published_sizes():
    with torch.device("meta"):
        base, large, huge = data2vec2_image_base(), data2vec2_image_large(), data2vec2_image_huge()
    own = sum(value.numel() for name, value in base.named_parameters() if not name.startswith("teacher"))
    assert round(own / 1e6, 1) == 88.4
    assert sum(name.startswith("teacher.model") for name in base.state_dict()) == 150
    assert (large.target.layers, huge.target.layers) == (18, 24)
    assert list(huge.decoder.blocks[0][0].weight.shape) == [1024, 1280 // 16, 5, 5]
    assert huge.teacher.decay_at(300_000) == 1.0


# Properties of the specification


@pytest.mark.parametrize(
    ("masking", "grid", "visible"),
    [
        (MultiBlockMasking(0.8, 3, 0.07, inverse=True), (14, 14), 39),
        (MultiBlockMasking(0.75, 3, 0.1, inverse=True), (14, 14), 49),
        (MultiBlockMasking(0.75, 3, 0.1, inverse=True), (16, 16), 64),
        (MultiBlockMasking(0.5, 5, 0.05), (799,), 400),
    ],
    ids=["image-B", "image-L", "image-H", "audio-B"],
)
def test_every_clone_has_the_published_counts(masking, grid, visible):
    tokens = grid_tokens(2, grid)
    mask = draw_copies(masking, tokens, 8, torch.Generator().manual_seed(0))
    assert mask.visible.shape == (16, visible)
    assert mask.num_tokens == tokens.coordinates.shape[1]
    assert len({tuple(row.tolist()) for row in mask.visible}) == 16


def grid_tokens(batch, grid):
    axes = torch.meshgrid(*(torch.arange(size) for size in grid), indexing="ij")
    places = torch.stack([axis.flatten() for axis in axes], -1).float().expand(batch, -1, -1)
    return Tokens(places, places, places, grid=grid)


@pytest.mark.parametrize("inverse", [True, False])
def test_masks_are_unions_of_blocks_up_to_the_correction(inverse):
    masking = MultiBlockMasking(0.8 if inverse else 0.2, 3, 0.07, inverse)
    painted = masking.paint((14, 14), 200, torch.device("cpu"), torch.Generator().manual_seed(1)).bool()
    shown = painted.view(200, 14, 14)
    for one in shown[:20]:  # every painted cell lies in a painted 3 x 3 block, cut at the border
        padded = torch.nn.functional.pad(one[None, None].float(), (1, 1, 1, 1), value=1.0)
        centres = -torch.nn.functional.max_pool2d(-padded, 3, 1)  # 1 where the whole block is painted
        assert torch.equal(torch.nn.functional.max_pool2d(centres, 3, 1, 1)[0, 0] > 0, one)
    generator = torch.Generator().manual_seed(1)
    hidden = masking(grid_tokens(200, (14, 14)), generator).to_bool()
    blocks = ~hidden if inverse else hidden
    count = painted.sum(1)
    assert ((count > 39) == (painted & ~blocks).any(1)).all()  # taken away only where there are too many
    assert ((count < 39) == (blocks & ~painted).any(1)).all()  # added only where there are too few
    assert (count > 39).any()
    assert (count < 39).any()


def test_the_teacher_sees_no_mask_and_clones_share_its_target():
    model = data2vec2_image_test().eval()
    images = draw(2, 3, 32, 32).float()
    tokens = model.tokenizer(images)
    every = model.teach(tokens, model.tokenizer.embed(tokens.features))
    for seed in (1, 2):
        result = model.predict_masked(images, generator=torch.Generator().manual_seed(seed))
        expected = result.mask.gather_masked(every.repeat_interleave(2, 0))
        assert torch.equal(result.target, expected)
    one, other = result.mask.to_bool()[:2]
    assert not torch.equal(one, other)
    assert torch.equal(result.class_target[0], result.class_target[1])


def test_hidden_patches_get_no_gradient():
    model = data2vec2_image_test(masks_per_sample=1).train()
    images = draw(2, 3, 32, 32).float().requires_grad_()
    mask = model.masking(model.tokenizer(images), torch.Generator().manual_seed(0))
    losses = model.compute_loss(images, mask)
    (losses["loss"] + losses["loss_class"]).backward()
    per_patch = model.tokenizer(images.grad).content.abs().sum(-1)
    assert (per_patch[mask.to_bool()] == 0).all()
    assert (per_patch[~mask.to_bool()] > 0).all()


def test_targets_are_normalised():
    layers = [draw(3, 20, 8, seed=seed) * 5 + 2 for seed in range(4)]
    alone = LayerAverage(8, 1)(layers[-1:])
    torch.testing.assert_close(alone.mean(1), torch.zeros(3, 8).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(LayerAverage(8, 4)(layers).mean(1), torch.zeros(3, 8).double(), atol=1e-12, rtol=0)
    rows = LayerAverage(8, 4, "instance", "layer")(layers)
    torch.testing.assert_close(rows.mean(-1), torch.zeros(3, 20).double(), atol=1e-12, rtol=0)
    torch.testing.assert_close(rows.var(-1, unbiased=False), torch.ones(3, 20).double(), atol=1e-3, rtol=0)
    for layer, average in (("instance", "none"), ("instance", "layer"), ("layer", "instance")):
        expected = oracle.make_targets(layers, 3, layer, average)
        torch.testing.assert_close(LayerAverage(8, 3, layer, average)(layers[-3:]), expected)
    with pytest.raises(DataError, match=r"at least two tokens a sample, got features \[3, 1, 8\]"):
        LayerAverage(8, 1)([layers[0][:, :1]])


def test_only_noise_makes_two_passes_differ():
    model = data2vec2_image_test(mask_noise=0.01).eval()
    images = draw(2, 3, 32, 32).float()
    mask = draw_copies(model.masking, model.tokenizer(images), 2, torch.Generator().manual_seed(0))
    first, second = (model.predict_masked(images, mask).prediction for _ in range(2))
    assert not torch.equal(first, second)
    model.decoder.noise = 0.0
    first, second = (model.predict_masked(images, mask).prediction for _ in range(2))
    assert torch.equal(first, second)


def test_the_decoder_sees_raster_order():
    """Latents are put back at their places, noise goes elsewhere."""
    decoder = copy.deepcopy(data2vec2_image_test(mask_noise=0.01).decoder).eval()
    mask = Mask.from_bool(removed(5))
    latents = draw(5, 1 + mask.num_visible, 32).float()
    seen = []
    decoder.blocks[0].register_forward_hook(lambda _, given, __: seen.append(given[0]))
    decoder(latents, None, mask)
    cells = seen[0].flatten(2).transpose(1, 2)  # [5, 16, 32]
    assert torch.equal(mask.gather_visible(cells), latents[:, 1:])
    assert mask.gather_masked(cells).std().item() == pytest.approx(0.01, rel=0.1)


def test_the_loss_of_clones_is_the_mean_of_single_ones():
    model = data2vec2_image_test().eval()
    images = draw(3, 3, 32, 32).float()
    mask = draw_copies(model.masking, model.tokenizer(images), 4, torch.Generator().manual_seed(0))
    together = model.compute_loss(images, mask)
    singles = [model.compute_loss(images, Mask(mask.visible[clone::4], mask.masked[clone::4])) for clone in range(4)]
    mean = torch.stack([losses["loss"] for losses in singles]).mean()
    torch.testing.assert_close(together["loss"], mean)
    total = torch.stack([losses["loss_class"] for losses in singles]).sum()
    torch.testing.assert_close(together["loss_class"], total)  # published: a sum over clones
    model.class_loss_reduction = "mean"
    torch.testing.assert_close(model.compute_loss(images, mask)["loss_class"], total / 12)


def test_the_student_is_followed_in_training_only():
    torch.manual_seed(0)
    model = data2vec2_image_test(ema_decay=0.5, ema_end_decay=0.5)
    images, before = draw(2, 3, 32, 32).float(), copy.deepcopy(model.teacher.model.state_dict())
    model.train().compute_loss(images)  # starts from equal weights
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(1.0)
    model.eval().compute_loss(images)
    assert all(torch.equal(value, before[name]) for name, value in model.teacher.model.state_dict().items())
    model.train().compute_loss(images)
    name = "encoder.blocks.0.mlp.fc1.weight"
    torch.testing.assert_close(model.teacher.model.state_dict()[name], before[name] + 0.5)
    assert torch.equal(model.teacher.model.position_embedding.table, model.position_embedding.table)


def test_initial_weights_reach_the_teacher():
    model = data2vec2_image_test()
    with torch.no_grad():
        model.tokenizer.projection.weight.add_(1.0)
    model.init_weights()
    assert torch.equal(model.teacher.model.tokenizer.projection.weight, model.tokenizer.projection.weight)


def test_a_collapse_shows():
    model = data2vec2_image_test().eval()
    images = draw(2, 3, 32, 32).float()
    losses = model.compute_loss(images)
    assert losses["target_deviation"] > 0.3
    assert losses["prediction_deviation"] > 0.1
    with torch.no_grad():
        model.prediction.weight.zero_()
        model.teacher.model.tokenizer.projection.weight.zero_()  # targets tell places apart, not samples
    losses = model.compute_loss(images)
    assert losses["prediction_deviation"] < 0.01
    assert losses["target_deviation"] < 0.01
    result = model.predict_masked(images)
    assert result.target.std(dim=1).mean() > 0.5


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match="averages 9 layers of an encoder of 3"):
        data2vec2_image_test(target_layers=9)
    with pytest.raises(ConfigError, match=r'must be "sum" or "mean"'):
        data2vec2_image_test(class_loss_reduction="max")
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        data2vec2_image_test(masks_per_sample=0)
    with pytest.raises(ConfigError, match="predicts features, not what can be drawn"):
        data2vec2_image_test().reconstruct(torch.zeros(1, 3, 32, 32))
    with pytest.raises(DataError, match=r"grid \(4, 4\) needs 16 tokens, got 36"):
        data2vec2_image_test(masks_per_sample=1).decoder.convolve(torch.zeros(1, 36, 32))
    with pytest.raises(ValueError, match="MultiBlockMasking needs tokens on a regular grid"):
        MultiBlockMasking(0.5)(Tokens(torch.zeros(1, 4, 1), torch.zeros(1, 4, 1), torch.zeros(1, 4, 1)))


def test_copies_of_any_masking_are_those_of_repeated_samples():
    tokens = grid_tokens(2, (4, 4))
    mask = draw_copies(RandomMasking(0.5), tokens, 3, torch.Generator().manual_seed(0))
    assert mask.masked.shape == (6, 8)
