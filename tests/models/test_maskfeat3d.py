"""The properties of the MaskFeat3D specification, and equality with its restatement in tests/oracles."""

import copy

import pytest
import torch
from torch import nn

from mae3d import ops
from mae3d.checkpoints import convert, export
from mae3d.errors import ConfigError, DataError
from mae3d.models.decoders import QueryDecoder
from mae3d.models.layers import CoordinateMlp
from mae3d.models.losses import SurfaceLoss
from mae3d.models.methods import MaskFeat3D, maskfeat3d_base, maskfeat3d_test
from tests.oracles import maskfeat3d as oracle

SIZE = {"num_groups": 16, "group_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
SIZE |= {"decoder_depth": 2, "decoder_num_heads": 2, "drop_path": 0.0}


def rows(batch=3, points=96, seed=0):
    """x y z, unit normal, variation; differences of points are exact in float32, so that patches are."""
    generator = torch.Generator().manual_seed(seed)
    points = (torch.randn(batch, points, 3, generator=generator) * 256).round() / 256
    normals = nn.functional.normalize(torch.randn(points.shape, generator=generator), dim=-1)
    return torch.cat((points, normals, torch.rand(*points.shape[:2], 1, generator=generator) / 3), dim=-1)


def draw_mask(model, points, seed=1):
    return model.masking(model.tokenizer(points), torch.Generator().manual_seed(seed))


def relative(value, expected):
    return ((value - expected).abs().max() / expected.abs().max()).item()


# Equality with the restated official forward


@pytest.mark.parametrize("kind", ["cos", "abs_cos", "mse", "mse_only"])
@pytest.mark.parametrize("training", [False, True])
def test_losses_and_gradients_equal_the_restatement_in_float64(training, kind):
    official = oracle.official_state(32, 3, 2)
    model = MaskFeat3D(**SIZE, normal_loss=kind)
    model.load_state_dict(convert("maskfeat3d", official).state)
    model.double().train(training)
    official = {name: value.double() if value.is_floating_point() else value for name, value in official.items()}
    leaves = {n: v.requires_grad_() for n, v in official.items() if v.is_floating_point() and "running" not in n}
    inputs = rows().double()
    mask = draw_mask(copy.deepcopy(model), inputs)
    expected = oracle.pretrain(
        inputs[..., :3], inputs[..., 3:6], inputs[..., 6], mask.to_bool(), official, 2, 16, 8, training, kind
    )
    result = model.predict_masked(inputs, mask)
    assert torch.equal(model.target.queries(result.tokens, mask), expected["queries"])
    assert torch.equal(result.target, expected["target"])
    assert relative(result.prediction, expected["prediction"]) < 1e-12
    losses = model.compute_loss(inputs, mask)
    for name in ("normal", "variation"):
        assert losses[f"loss_{name}"].item() == pytest.approx(expected[name].item(), rel=1e-12)

    sum(losses.values()).backward()
    (expected["normal"] + expected["variation"]).backward()
    state = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    ours = export("maskfeat3d", state | {name: p.grad for name, p in model.named_parameters()}).state
    for name, leaf in leaves.items():
        assert (ours[name] - leaf.grad).abs().max() <= 1e-10 * leaf.grad.abs().max() + 1e-14, name


def test_published_counts():
    with torch.device("meta"):
        model = maskfeat3d_base()
    assert sum(p.numel() for p in model.parameters()) == 31_343_748
    assert len(export("maskfeat3d", model.state_dict()).state) == 238


# Queries and targets (properties 1, 5, 7)


def test_76_of_128_patches_give_2432_queries():
    model = maskfeat3d_test(num_groups=128, group_size=32, depth=1, decoder_depth=1).eval()
    inputs = rows(batch=2, points=256)
    tokens = model.tokenizer(inputs)
    mask = model.masking(tokens, torch.Generator().manual_seed(0))
    assert (mask.num_masked, mask.num_visible) == (76, 52)
    assert model.target.queries(tokens, mask).shape == (2, 2432, 3)
    assert model.target(tokens, mask).shape == (2, 2432, 4)


def test_targets_are_those_of_the_points_asked_about():
    model = maskfeat3d_test().eval()
    inputs = rows()
    tokens = model.tokenizer(inputs)
    mask = draw_mask(model, inputs)
    queries, target = model.target.queries(tokens, mask), model.target(tokens, mask)
    squared = (queries[:, :, None] - inputs[:, None, :, :3]).square().sum(-1)
    assert squared.amin(-1).max() == 0
    assert torch.equal(target, inputs[..., 3:].take_along_dim(squared.argmin(-1).unsqueeze(-1), dim=1))


def test_a_share_of_the_queries_is_their_beginning():
    inputs = rows()
    whole, part = maskfeat3d_test().eval(), maskfeat3d_test(query_points=0.3).eval()
    part.load_state_dict(whole.state_dict())
    mask = draw_mask(whole, inputs)
    first, second = whole.predict_masked(inputs, mask), part.predict_masked(inputs, mask)
    count = int(9 * 8 * 0.3)
    assert second.prediction.shape == (3, count, 4)
    assert torch.equal(second.target, first.target[:, :count])
    with pytest.raises(ConfigError, match=r"query_points must be in \(0, 1\]"):
        maskfeat3d_test(query_points=0)


def test_a_point_asked_twice_gets_one_answer():
    model = maskfeat3d_test().eval()
    result = model.predict_masked(rows(), generator=torch.Generator().manual_seed(1))
    queries = model.target.queries(result.tokens, result.mask)[0]
    same = (queries[:, None] == queries[None]).all(-1).triu(1).nonzero()
    assert len(same) > 10
    torch.testing.assert_close(result.prediction[0, same[:, 0]], result.prediction[0, same[:, 1]])


def test_no_gradient_reaches_positions_and_all_parameters_have_one():
    model = maskfeat3d_test().train()
    inputs = rows().requires_grad_()
    sum(model.compute_loss(inputs).values()).backward()
    assert inputs.grad is None
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


# Surface


def test_what_a_cloud_lacks_is_made_of_its_neighbours():
    model = maskfeat3d_test(neighbours=10, normal_loss="abs_cos")
    whole = rows()
    surface = ops.local_surface(whole[..., :3], k=10)
    made = model.with_surface(whole[..., :3])
    assert torch.equal(made, torch.cat((whole[..., :3], surface.normals, surface.variation[..., None]), dim=-1))
    made = model.with_surface(whole[..., :6])
    assert torch.equal(made, torch.cat((whole[..., :6], surface.variation[..., None]), dim=-1))
    assert model.with_surface(whole) is whole
    with pytest.raises(DataError, match=r"have no normals.*use_normals=True.*abs_cos"):
        maskfeat3d_test().with_surface(whole[..., :3])
    with pytest.raises(DataError, match=r"3, 6 or 7 columns, got shape \[3, 96, 5\]"):
        model.with_surface(whole[..., :5])


@pytest.mark.parametrize("shape", [(3, 96), (3, 96, 1)])
def test_variation_comes_as_a_field_of_the_batch(shape):
    model = maskfeat3d_test().eval()
    whole = rows()
    batch = {"points": whole[..., :6], "variation": whole[..., 6].reshape(shape), "index": torch.arange(3)}
    losses = [model(**batch, mode="loss", generator=torch.Generator().manual_seed(0))]
    losses.append(model(whole, mode="loss", generator=torch.Generator().manual_seed(0)))
    assert losses[0] == losses[1]


# Losses (property 3)


def test_loss_of_equal_and_opposite_normals():
    target = rows()[..., 3:]
    opposite = torch.cat((-target[..., :3], target[..., 3:]), dim=-1)
    assert SurfaceLoss("cos")(target, target).normal.item() == pytest.approx(0, abs=1e-6)
    assert SurfaceLoss("cos")(opposite, target).normal.item() == pytest.approx(2, abs=1e-6)
    assert SurfaceLoss("abs_cos")(opposite, target).normal.item() == pytest.approx(0, abs=1e-6)
    assert SurfaceLoss()(opposite, target).variation.item() == 0


def test_the_length_of_a_normal_is_drawn_to_one():
    target = rows()[..., 3:]
    double = torch.cat((2 * target[..., :3], target[..., 3:] + 0.25), dim=-1)
    for kind in ("cos", "abs_cos"):
        assert SurfaceLoss(kind)(double, target).normal.item() == pytest.approx(0.1, abs=1e-6)
    assert SurfaceLoss("mse")(double, target).normal.item() == pytest.approx(0.1 + 1 / 3, abs=1e-5)
    assert SurfaceLoss("mse_only")(double, target).normal.item() == pytest.approx(1 / 3, abs=1e-5)
    assert SurfaceLoss()(double, target).variation.item() == pytest.approx(0.25)
    with pytest.raises(ConfigError, match="normal_loss must be one of"):
        SurfaceLoss("l1")


# Decoder (properties 4, 6, 8)


def decoder(**options):
    torch.manual_seed(0)
    return QueryDecoder(32, 2, 2, position_embedding=CoordinateMlp(32), **options).eval()


def test_decoder_takes_any_features_at_any_places_in_any_order():
    model = decoder()
    memory, places, queries = torch.randn(2, 5, 32), torch.randn(2, 5, 3), torch.randn(2, 11, 3)
    result = model(memory, places, queries)
    assert result.shape == (2, 11, 32)
    order = torch.randperm(11)
    torch.testing.assert_close(model(memory, places, queries[:, order]), result[:, order])
    order = torch.randperm(5)
    torch.testing.assert_close(model(memory[:, order], places[:, order], queries), result)
    assert not torch.allclose(model(memory[:, order], places, queries), result, atol=1e-3)
    assert not torch.allclose(model(memory, places, queries[:, :6]), result[:, :6], atol=1e-4)  # they see each other


def test_the_first_block_has_one_value_for_all_queries():
    model = decoder()
    block = model.blocks[0]
    nn.init.normal_(block.norm1.bias)
    position = torch.randn(2, 7, 32)
    answer = block.self_attn(block.norm1(torch.zeros(2, 7, 32)), position=position)
    value = nn.functional.linear(block.norm1.bias, block.self_attn.qkv.weight[64:], block.self_attn.qkv.bias[64:])
    torch.testing.assert_close(answer, block.self_attn.proj(value).expand_as(answer))


@pytest.mark.parametrize(("over", "axis"), [("samples", 1), ("queries", 0)])
def test_stochastic_depth_drops_samples_or_queries(over, axis):
    model = decoder(drop_path=0.5, drop_path_over=over).train()
    branch = model.blocks[1]._drop(torch.ones(64, 48, 32))
    kept = branch[..., 0] > 0
    assert torch.equal(branch > 0, kept[..., None].expand_as(branch))
    assert torch.equal(kept, kept.select(axis, 0).unsqueeze(axis).expand_as(kept))
    assert 0 < kept.float().mean() < 1
    assert branch.max() == 2
    with pytest.raises(ConfigError, match='drop_path_over must be "samples" or "queries"'):
        decoder(drop_path_over="batch")


def test_another_encoder_takes_the_place():
    class Mean(nn.Module):
        depth, embed_dim = 1, 32

        def forward(self, tokens, positions):
            return (tokens + positions).mean(dim=1, keepdim=True).expand_as(tokens)

    model = maskfeat3d_test(encoder=Mean()).train()
    sum(model.compute_loss(rows()).values()).backward()
    assert model.tokenizer.embedding.first[0].weight.grad.abs().max() > 0


def test_initialisation_is_the_published_one():
    torch.manual_seed(0)
    model = maskfeat3d_base(depth=1, decoder_depth=1)
    block = model.decoder.blocks[0]
    for layer, bound in ((block.self_attn.qkv, 6 / (4 * 384)), (block.memory_attn.proj, 6 / (2 * 384))):
        assert layer.weight.abs().max().item() == pytest.approx(bound**0.5, rel=1e-3)
        assert not layer.bias.any()
    for layer, fan_in in ((model.prediction, 384), (model.decoder.position_embedding[0], 3)):
        assert layer.bias.any()
        assert layer.weight.abs().max().item() == pytest.approx(fan_in**-0.5, rel=0.02)


def test_there_is_no_picture_to_draw():
    with pytest.raises(ConfigError, match="predicts no positions"):
        maskfeat3d_test().reconstruct(rows())
