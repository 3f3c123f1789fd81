"""The properties of the Point-CMAE specification, and equality with its restatement in tests/oracles."""

import pytest
import torch
from torch import nn

from mae3d.checkpoints import convert, export
from mae3d.errors import ConfigError
from mae3d.models.backbones import ViT
from mae3d.models.layers import DropPath
from mae3d.models.losses import CoMaskedCosine
from mae3d.models.methods import PointCMAE, PointMAE, point_cmae_base, point_cmae_test
from mae3d.structures import Mask
from tests.oracles import point_cmae as oracle

SIZE = {"num_groups": 16, "group_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
DECODER = {"decoder_depth": 2, "decoder_num_heads": 2, "drop_path": 0.0}


def cloud(batch=3, points=96, seed=0):
    """Clouds whose differences are exact in float32, so that both precisions cut the same patches."""
    points = torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))
    return (points * 256).round() / 256


def official_model(**options):
    official = oracle.official_state(32, 3, 2, 8)
    model = PointCMAE(**SIZE, **DECODER, class_projection=True, **options)
    model.load_state_dict(convert("point-cmae", official).state)
    return model, official


def draw_mask(model, points, seed=1):
    return model.predict_masked(points, generator=torch.Generator().manual_seed(seed)).mask


def relative(value, expected):
    return ((value - expected).abs().max() / expected.abs().max()).item()


def published(contrast, pairs):
    """The code adds a constant without effect to each of its terms, which is left out here."""
    return contrast.item() - (1e-8 if pairs == "all" else 0)


# Equality with the restated official forward


@pytest.mark.parametrize("pairs", ["all", "same"])
@pytest.mark.parametrize("training", [False, True])
def test_losses_and_gradients_equal_the_restatement_in_float64(training, pairs):
    model, official = official_model(pairs=pairs)
    model.double().train(training)
    official = {name: value.double() if value.is_floating_point() else value for name, value in official.items()}
    leaves = {n: v.requires_grad_() for n, v in official.items() if v.is_floating_point() and "running" not in n}
    points = cloud().double()
    mask = draw_mask(model, points)
    expected = oracle.pretrain(points, mask.to_bool().chunk(2), official, 2, 16, 8, training, pairs)
    result = model.predict_masked(points, mask)
    assert relative(result.prediction, torch.cat(expected["predictions"])) < 1e-12
    assert relative(result.features, torch.cat(expected["features"])) < 1e-12
    losses = model.compute_loss(points, mask)
    assert losses["loss_reconstruction"].item() == pytest.approx(1000 * expected["reconstruction"].item(), rel=1e-12)
    assert losses["loss_contrast"].item() == pytest.approx(published(expected["contrast"], pairs), rel=1e-12)

    sum(losses.values()).backward()
    (1000 * expected["reconstruction"] + expected["contrast"]).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()} | gradients
    ours = export("point-cmae", state).state
    assert len([leaf for leaf in leaves.values() if leaf.grad is None]) == 6  # those of proj_cls
    for name, leaf in leaves.items():
        gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
        assert (ours[name] - gradient).abs().max() <= 1e-10 * gradient.abs().max() + 1e-12, name


def test_published_size_equals_the_restatement():
    official = oracle.official_state(384, 12, 4, 32)
    with torch.device("meta"):
        model = point_cmae_base(class_projection=True).eval()
    model.load_state_dict(convert("point-cmae", official).state, assign=True)
    points = cloud(batch=1, points=256)
    with torch.no_grad():
        mask = draw_mask(model, points)
        losses = model.compute_loss(points, mask)
        expected = oracle.pretrain(points, mask.to_bool().chunk(2), official, 6, 64, 32, False)
    assert losses["loss_reconstruction"].item() == pytest.approx(1000 * expected["reconstruction"].item(), rel=1e-5)
    assert losses["loss_contrast"].item() == pytest.approx(expected["contrast"].item(), rel=1e-5)


def test_published_counts():
    with torch.device("meta"):
        published, plain = point_cmae_base(class_projection=True), point_cmae_base()
    assert sum(p.numel() for p in published.parameters()) == 36_354_240
    assert len(published.state_dict()) == 275
    left_out = set(published.state_dict()) - set(plain.state_dict())
    assert len(left_out) == 9
    assert {name.split(".")[0] for name in left_out} == {"class_projection"}


# Masks (property 1)


def test_two_independent_masks_hide_12_to_38_patches_twice():
    model = point_cmae_test(num_groups=64, depth=1, decoder_depth=1).eval()
    with torch.no_grad():
        mask = draw_mask(model, cloud(batch=64, points=128))
    first, second = mask.to_bool().chunk(2)
    assert (first.sum(1) == 38).all()
    assert (second.sum(1) == 38).all()
    both = (first & second).sum(1)
    assert both.min() >= 12
    assert both.max() < 38
    # Of independent draws 38 * 38 / 64 = 22.6 on average, with a deviation of 1.9 a cloud.
    assert both.double().mean().item() == pytest.approx(38 * 38 / 64, abs=1.0)


def test_two_blocks_are_drawn_for_two_branches():
    model = point_cmae_test(masking="block").eval()
    with torch.no_grad():
        result = model.predict_masked(cloud(batch=16), generator=torch.Generator().manual_seed(0))
    first, second = result.mask.to_bool().chunk(2)
    assert not torch.equal(first, second)
    patches = result.tokens.content.chunk(2)
    hidden = [content[masked].view(16, -1, 8, 3) for content, masked in zip(patches, (first, second))]
    assert torch.equal(result.target, torch.cat(hidden))  # each branch learns what it hides


def test_a_mask_of_one_branch_is_refused():
    model, points = point_cmae_test().eval(), cloud()
    both = draw_mask(model, points)
    with pytest.raises(ValueError, match="PointCMAE: the mask has 3 rows, a batch of 3 clouds needs 6"):
        model.predict_masked(points, Mask(both.visible[:3], both.masked[:3]))


def test_tokens_are_made_once():
    model = point_cmae_test().train()
    model.compute_loss(cloud())
    assert model.tokenizer.embedding.first[1].num_batches_tracked == 1


# The contrast (properties 2, 3, 9, 10)


def features(seed=0):
    generator = torch.Generator().manual_seed(seed)
    first, second = (torch.randn(2, 6, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    hidden = torch.tensor([[1, 1, 0, 0, 1, 0], [0, 1, 0, 1, 0, 0]], dtype=torch.bool)
    return first, second, hidden


@pytest.mark.parametrize("pairs", ["all", "same"])
def test_contrast_is_its_definition(pairs):
    first, second, hidden = features()
    expected = oracle.contrast(first, second, hidden, pairs)
    assert CoMaskedCosine(pairs)(first, second, hidden).item() == pytest.approx(published(expected, pairs), rel=1e-12)


@pytest.mark.parametrize("pairs", ["all", "same"])
def test_contrast_does_not_see_lengths_and_lies_between_0_and_2(pairs):
    loss = CoMaskedCosine(pairs)
    first, second, hidden = features()
    lengths = torch.rand(2, 6, 1, dtype=torch.float64) + 0.1
    torch.testing.assert_close(loss(first * lengths, 7 * second, hidden), loss(first, second, hidden))
    one = torch.ones(2, 6, 8, dtype=torch.float64)
    assert loss(one, one, hidden).item() == pytest.approx(0, abs=2e-8)
    assert loss(one, -one, hidden).item() == pytest.approx(2, abs=2e-8)


@pytest.mark.parametrize("pairs", ["all", "same"])
def test_signs(pairs):
    loss = CoMaskedCosine(pairs)
    first, second, hidden = features()
    value = loss(first, second, hidden)
    torch.testing.assert_close(loss(-first, -second, hidden), value)
    assert loss(-first, second, hidden).item() == pytest.approx(2 - value.item(), abs=3e-8)


def test_only_the_same_position_is_symmetric_and_blind_to_visible_tokens():
    first, second, hidden = features()
    every, same = CoMaskedCosine("all"), CoMaskedCosine("same")
    torch.testing.assert_close(same(first, second, hidden), same(second, first, hidden))
    assert (every(first, second, hidden) - every(second, first, hidden)).abs() > 1e-3
    changed = torch.where(hidden[..., None], second, torch.randn_like(second))
    assert torch.equal(same(first, changed, hidden), same(first, second, hidden))
    assert (every(first, changed, hidden) - every(first, second, hidden)).abs() > 1e-3


def test_contrast_of_nothing_is_zero():
    first, second, hidden = features()
    for pairs in ("all", "same"):
        assert CoMaskedCosine(pairs)(first, second, torch.zeros_like(hidden)).item() == 0.0


def test_unknown_pairs_are_named():
    with pytest.raises(ConfigError, match='pairs must be "all" or "same"'):
        point_cmae_test(pairs="diagonal")


def test_twins_agree_at_the_same_position_only():
    model = point_cmae_test(drop_path=0.0).eval()
    model.second_decoder.load_state_dict(model.decoder.state_dict())
    for parameter in (model.class_token, model.class_position):
        parameter[1].data.copy_(parameter[0].data)
    points = cloud()
    half = draw_mask(model, points).visible.chunk(2)[0]
    masked = draw_mask(model, points).masked.chunk(2)[0]
    mask = Mask(half.repeat(2, 1), masked.repeat(2, 1))
    first, second = model.predict_masked(points, mask).features.chunk(2)
    torch.testing.assert_close(first, second)
    model.contrast = CoMaskedCosine("same")
    assert model.compute_loss(points, mask)["loss_contrast"].item() == pytest.approx(0, abs=1e-6)
    model.contrast = CoMaskedCosine("all")
    assert model.compute_loss(points, mask)["loss_contrast"].item() > 1e-3


# The flow (properties 4 to 8)


def test_features_are_in_the_order_of_the_patches():
    model = point_cmae_test(drop_path=0.0).eval()
    points = cloud()
    result = model.predict_masked(points, generator=torch.Generator().manual_seed(1))
    mask, width = result.mask, result.features.shape[-1]
    visible, masked = mask.gather_visible(result.features), mask.gather_masked(result.features)
    assert torch.equal(mask.restore(visible, masked), result.features)
    first = Mask(mask.visible.chunk(2)[0], mask.masked.chunk(2)[0])
    decoded = model.decoder.decode(
        model.encode(result.tokens, mask)[:3], result.tokens.coordinates[:3], first
    )  # [visible | masked]
    torch.testing.assert_close(decoded, torch.cat((visible[:3], masked[:3]), dim=1))
    assert width == 32


def test_one_branch_is_point_mae_with_a_class_token():
    model = point_cmae_test(drop_path=0.0).eval()
    twin = PointMAE(**SIZE, **DECODER).eval()
    with_class = {"qkv_bias": "none", "position": "every_block", "norm_eps": 1e-5, "class_token": True}
    twin.encoder = ViT(32, 3, 2, **with_class)
    own = model.state_dict()
    for branch, names in enumerate((("decoder", "prediction"), ("second_decoder", "second_prediction"))):
        state = {name: own[name] for name in twin.state_dict() if name in own}
        state |= {f"encoder.class_{kind}": own[f"class_{kind}.{branch}"] for kind in ("token", "position")}
        for ours, theirs in zip(("decoder", "prediction"), names):
            state |= {ours + n.removeprefix(theirs): v for n, v in own.items() if n.startswith(f"{theirs}.")}
        twin.load_state_dict(state)
        points = cloud()
        result = model.predict_masked(points, generator=torch.Generator().manual_seed(2))
        mask = Mask(result.mask.visible.chunk(2)[branch], result.mask.masked.chunk(2)[branch])
        torch.testing.assert_close(result.prediction.chunk(2)[branch], twin.predict_masked(points, mask).prediction)


def test_the_unused_projection_alone_gets_no_gradient():
    model = point_cmae_test(class_projection=True).train()
    sum(model.compute_loss(cloud()).values()).backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert len(missing) == 6
    assert all(name.startswith("class_projection.") for name in missing)
    assert missing == [name for name, p in model.named_parameters() if not p.requires_grad]  # no optimizer has them


def test_the_encoder_learns_from_both_branches():
    model = point_cmae_test(drop_path=0.0, contrast_weight=0.0).eval()
    points = cloud()
    mask = draw_mask(model, points)
    weight = model.encoder.blocks[0].attn.qkv.weight

    def gradient(rows):
        result = model.predict_masked(points, mask)
        return torch.autograd.grad(model.loss(result.prediction[rows], result.target[rows]), weight)[0]

    whole = torch.autograd.grad(model.compute_loss(points, mask)["loss_reconstruction"], weight)[0]
    first, second = gradient(slice(0, 3)), gradient(slice(3, 6))
    assert first.abs().max() > 0
    assert second.abs().max() > 0
    torch.testing.assert_close(whole, 1000 * (first + second), rtol=1e-4, atol=1e-3)


def test_weights_scale_their_losses():
    points, losses = cloud(), []
    for reconstruction, contrast in ((1.0, 1.0), (1000.0, 3.0)):
        torch.manual_seed(0)
        model = point_cmae_test(reconstruction_weight=reconstruction, contrast_weight=contrast).eval()
        losses.append(model.compute_loss(points, generator=torch.Generator().manual_seed(0)))
    for name, factor in (("loss_reconstruction", 1000), ("loss_contrast", 3)):
        torch.testing.assert_close(losses[1][name], factor * losses[0][name])


# The rest of the contract


def test_features_of_whole_clouds_take_the_first_class_token():
    model = point_cmae_test().eval()
    points = cloud()
    assert model.extract_features(points).shape == (3, 64)
    latents = model.encode(model.tokenizer(points))
    assert latents.shape == (3, 17, 32)
    torch.testing.assert_close(model.extract_features(points, "class"), latents[:, 0])
    model.class_token[1].data.normal_()
    torch.testing.assert_close(model.encode(model.tokenizer(points)), latents)
    model.class_token[0].data.normal_()
    assert not torch.allclose(model.encode(model.tokenizer(points)), latents, atol=1e-3)


def test_pictures_show_what_each_branch_saw():
    model = point_cmae_test()
    points = cloud()
    for head in (model.prediction, model.second_prediction):
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
    mask = draw_mask(model, points)
    result = model.reconstruct(points, mask)
    centers = mask.gather_masked(model.tokenizer(points).coordinates.repeat(2, 1, 1))
    torch.testing.assert_close(result.predicted, centers.repeat_interleave(8, dim=1))
    assert torch.equal(result.original, points.repeat(2, 1, 1))
    assert result.visible.shape == (6, 7 * 8, 3)


def test_decoders_start_apart():
    model = point_cmae_test()
    pairs = zip(model.decoder.parameters(), model.second_decoder.parameters(), strict=True)
    assert not any(torch.equal(a, b) for a, b in pairs if a.dim() > 1)


def test_all_transformers_drop_paths_at_rising_rates():
    model = point_cmae_test(drop_path=0.2)
    for part, rates in (
        (model.encoder, [0.0, 0.1, 0.2]),
        (model.decoder, [0.0, 0.2]),
        (model.second_decoder, [0.0, 0.2]),
    ):
        found = [m.rate for m in part.modules() if isinstance(m, DropPath)]
        assert found == pytest.approx(rates)


def test_layers_for_learning_rate_decay():
    model = point_cmae_test(class_projection=True)
    depths = {name: model.get_layer_depth(name) for name, _ in model.named_parameters()}
    assert depths["class_token.0"] == depths["class_position.1"] == depths["tokenizer.embedding.first.0.weight"]
    assert depths["class_token.0"] == (0, 5)
    assert depths["encoder.blocks.2.mlp.fc2.bias"] == (3, 5)
    assert depths["second_decoder.mask_token"] == depths["second_prediction.weight"] == (4, 5)
