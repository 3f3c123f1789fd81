"""The properties of the Point-MAE specification, and equality with its restatement in tests/oracles."""

import pytest
import torch
from torch import nn

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.heads import PointMAEClassifier, PointMAESegmenter
from mae3d.models.methods import PointMAE, point_mae_base, point_mae_test, point_mae_tiny
from mae3d.structures import Mask
from tests.oracles import point_mae as oracle

WIDTH, DEPTH, DECODER_DEPTH, HEADS, GROUPS, SIZE = 32, 3, 2, 2, 16, 8


def cloud(batch=3, points=96, seed=0):
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    return point_mae_test(**options)


def draw_mask(model, points, seed=1):
    return model.masking(model.tokenizer(points), torch.Generator().manual_seed(seed))


def official_model():
    official = oracle.official_state(WIDTH, DEPTH, DECODER_DEPTH, SIZE)
    model = PointMAE(
        num_groups=GROUPS,
        group_size=SIZE,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        decoder_depth=DECODER_DEPTH,
        decoder_num_heads=HEADS,
        drop_path=0.0,
    )
    model.load_state_dict(convert("point-mae", official).state)
    return model, official


def assert_equal_to(value, expected, relative):
    """Largest difference over largest magnitude."""
    assert ((value - expected).abs().max() / expected.abs().max()).item() < relative


# Equality with the restated official forward (property 7)


@pytest.mark.parametrize("training", [False, True])
def test_forward_and_loss_equal_the_restatement(training):
    model, official = official_model()
    model.train(training)
    points = cloud()
    mask = draw_mask(model.eval(), points)
    model.train(training)
    expected = oracle.pretrain(points, mask.to_bool(), official, HEADS, GROUPS, SIZE, training)
    result = model.predict_masked(points, mask)
    assert torch.equal(result.target, expected["target"])
    assert_equal_to(result.tokens.features, expected["tokens"], 2e-6)
    assert_equal_to(result.prediction, expected["prediction"], 1e-5)
    loss = model.loss(result.prediction, result.target)
    assert loss.item() == pytest.approx(expected["loss"].item(), rel=1e-6)


def test_encoder_equals_the_restatement():
    model, official = official_model()
    model.eval()
    points = cloud()
    mask = draw_mask(model, points)
    expected = oracle.pretrain(points, mask.to_bool(), official, HEADS, GROUPS, SIZE, False)
    assert_equal_to(model.encode(model.tokenizer(points), mask), expected["latents"], 1e-5)


def test_published_size_equals_the_restatement():
    official = oracle.official_state(384, 12, 4, 32)
    model = point_mae_base()
    model.load_state_dict(convert("point-mae", official).state)
    model.eval()
    points = cloud(batch=1, points=256)
    mask = draw_mask(model, points)
    expected = oracle.pretrain(points, mask.to_bool(), official, 6, 64, 32, False)
    with torch.no_grad():
        loss = model.compute_loss(points, mask)["loss"]
    assert loss.item() == pytest.approx(expected["loss"].item(), rel=1e-6)


# Counts of the card


def test_published_counts():
    with torch.device("meta"):
        models = point_mae_base(), PointMAEClassifier(40), PointMAESegmenter()
    pretraining, classifier, segmenter = (sum(p.numel() for p in model.parameters()) for model in models)
    assert pretraining == 29_006_432
    assert len(models[0].state_dict()) == 209
    assert classifier == 22_099_752
    assert round(segmenter / 1e6, 2) == 27.06


def test_variants_differ_in_numbers_only():
    with torch.device("meta"):
        assert point_mae_base(num_groups=32).tokenizer.num_groups == 32
        tiny = point_mae_tiny()
    assert type(tiny) is PointMAE
    assert sum(p.numel() for p in tiny.parameters()) < 5e6


# Properties 1 to 6, 8 to 10


@pytest.mark.parametrize("masking", ["random", "block"])
def test_38_of_64_are_masked_in_every_sample(masking):
    model = point_mae_base(masking=masking, depth=1, decoder_depth=1)
    mask = draw_mask(model, cloud(batch=5, points=128))
    assert (mask.num_masked, mask.num_visible) == (38, 26)
    assert torch.equal(mask.to_bool().sum(1), torch.full((5,), 38))


def test_point_order_does_not_matter_when_the_first_stays():
    model = small().eval()
    points = cloud()
    mask = draw_mask(model, points)
    order = torch.cat((torch.zeros(1, dtype=torch.int64), torch.randperm(95) + 1))
    torch.testing.assert_close(model.compute_loss(points[:, order], mask), model.compute_loss(points, mask))


def test_order_inside_patches_does_not_matter():
    model = small().eval()
    patches = torch.randn(2, 4, 8, 3)
    shuffled = patches[:, :, torch.randperm(8)]
    torch.testing.assert_close(model.tokenizer.embedding(shuffled), model.tokenizer.embedding(patches))
    prediction = torch.randn(2, 4, 8, 3)
    torch.testing.assert_close(model.loss(prediction, shuffled), model.loss(prediction, patches))


@pytest.mark.parametrize("training", [False, True])
def test_masked_patches_reach_the_encoder_through_batch_norm_alone(training):
    model = small(drop_path=0.0)
    points = cloud()
    tokens = model.tokenizer(points)
    mask = draw_mask(model, points)
    content = tokens.content.clone()
    hidden = mask.to_bool()
    content[hidden] += torch.randn_like(content[hidden])
    model.train(training)

    def visible_tokens(patches):
        return mask.gather_visible(model.tokenizer.embedding(patches))

    same = torch.allclose(visible_tokens(tokens.content), visible_tokens(content), atol=1e-6)
    assert same is not training


def test_translation_moves_positions_only():
    model = small(skip_near_origin=None).eval()
    points = (cloud() * 64).round() / 64  # sums with the shift are exact
    before, after = model.tokenizer(points), model.tokenizer(points + 2.0)
    assert torch.equal(before.features, after.features)
    assert torch.equal(before.content, after.content)
    assert torch.equal(before.coordinates + 2.0, after.coordinates)


def test_loss_of_the_target_in_any_order_is_zero():
    model = small()
    target = torch.randn(2, 5, 8, 3)
    assert model.loss(target[:, :, torch.randperm(8)], target).item() == 0.0


def test_position_is_added_before_every_block():
    model = small().eval()
    tokens = model.tokenizer(cloud())
    position = model.position_embedding(tokens.coordinates)
    block = model.encoder.blocks[0]
    one = nn.Sequential(block)
    torch.testing.assert_close(one(tokens.features + position), block(tokens.features + position))
    once = tokens.features + position
    for layer in model.encoder.blocks:
        once = layer(once)
    assert not torch.allclose(model.encode(tokens), model.encoder.norm(once), atol=1e-3)


def test_gradients_reach_every_parameter():
    model = small().train()
    model(cloud(), mode="loss")["loss"].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_classifier_lacks_class_token_and_head_alone():
    torch.manual_seed(0)
    classifier = PointMAEClassifier(
        5, num_groups=GROUPS, group_size=SIZE, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS
    )
    missing, unexpected = classifier.load_state_dict(small().state_dict(), strict=False)
    assert {name.split(".")[0] for name in missing} == {"encoder", "head"}
    assert [n for n in missing if n.startswith("encoder")] == ["encoder.class_token", "encoder.class_position"]
    assert {name.split(".")[0] for name in unexpected} == {"decoder", "prediction"}


# The rest of the contract


def test_modes():
    model = small().eval()
    points = cloud()
    assert model(points).shape == (3, 9, 8, 3)
    assert set(model(points, mode="loss", index=torch.arange(3), label=torch.arange(3))) == {"loss"}
    rows = model(points, mode="predict", label=torch.tensor([2, 0, 1]))
    assert [row["label"].item() for row in rows] == [2, 0, 1]
    assert rows[0]["features"].shape == (2 * WIDTH,)
    assert set(model(points, mode="predict")[0]) == {"features"}
    with pytest.raises(ValueError, match="mode must be"):
        model(points, mode="train")


@pytest.mark.parametrize(("pooling", "width"), [("max", 32), ("mean", 32), ("max_mean", 64)])
def test_features_are_of_the_whole_cloud_in_eval_mode(pooling, width):
    model = small().train()
    model.tokenizer.eval()
    features = model.extract_features(cloud(), pooling)
    assert features.shape == (3, width)
    assert not features.requires_grad
    assert model.training
    assert not model.tokenizer.training
    assert torch.equal(features, model.extract_features(cloud(), pooling))
    with pytest.raises(ConfigError, match="needs an encoder with a class token"):
        model.extract_features(cloud(), "class")


def test_reconstruction_is_in_the_frame_of_the_cloud():
    model = small(skip_near_origin=None)
    points = cloud() + 10.0
    mask = draw_mask(model, points)
    model.prediction.weight.data.zero_()
    model.prediction.bias.data.zero_()
    result = model.reconstruct(points, mask)
    assert torch.equal(result.original, points)
    assert result.visible.shape == (3, 7 * 8, 3)
    nearest = (result.visible[:, :, None] - points[:, None]).norm(dim=-1).amin(-1)
    assert nearest.max() < 1e-5
    centers = mask.gather_masked(model.tokenizer(points).coordinates)
    torch.testing.assert_close(result.predicted, centers.repeat_interleave(8, dim=1))


def test_layers_for_learning_rate_decay():
    model = small()
    depths = {name: model.get_layer_depth(name) for name, _ in model.named_parameters()}
    assert {total for _, total in depths.values()} == {DEPTH + 2}
    assert depths["tokenizer.embedding.first.0.weight"][0] == 0
    assert depths["position_embedding.0.weight"][0] == 0
    assert depths["encoder.blocks.0.norm1.weight"][0] == 1
    assert depths["encoder.blocks.2.mlp.fc2.bias"][0] == 3
    assert depths["encoder.norm.weight"][0] == depths["decoder.mask_token"][0] == depths["prediction.bias"][0] == 4


def test_normals_are_ignored():
    model = small().eval()
    points = cloud()
    mask = draw_mask(model, points)
    wide = torch.cat((points, torch.randn_like(points)), dim=-1)
    assert torch.equal(model.compute_loss(points, mask)["loss"], model.compute_loss(wide, mask)["loss"])


def test_too_few_points_and_unknown_masking_are_named():
    with pytest.raises(ValueError, match=r"at least group_size = 8 points .* \[1, 5, 3\]"):
        small()(torch.zeros(1, 5, 3))
    with pytest.raises(ConfigError, match="masking must be one of"):
        point_mae_test(masking="tube")


def test_initialisation_is_the_published_one():
    torch.manual_seed(0)
    model = point_mae_base(depth=4, decoder_depth=1, drop_path=0.1)
    encoder = model.encoder.blocks[3].mlp.fc1
    assert encoder.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert not encoder.bias.any()
    assert model.tokenizer.embedding.second[3].weight.std().item() == pytest.approx(0.02, rel=0.02)
    decoder = model.decoder.transformer.blocks[0].mlp.fc1.weight
    assert decoder.abs().max().item() == pytest.approx((6 / (384 + 1536)) ** 0.5, rel=1e-3)
    assert model.decoder.mask_token.std().item() == pytest.approx(0.02, rel=0.2)
    assert model.decoder.position_embedding[0].bias.any()
    assert model.encoder.blocks[-1].drop_path.rate == pytest.approx(0.1)
    assert model.decoder.transformer.blocks[-1].drop_path.rate == 0.0


def test_an_unmasked_pass_takes_an_injected_empty_mask():
    model = small().eval()
    tokens = model.tokenizer(cloud())
    torch.testing.assert_close(model.encode(tokens, Mask.none(3, GROUPS)), model.encode(tokens))
