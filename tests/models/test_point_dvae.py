"""The properties of Point-BERT's tokenizer, and equality with its restatement in tests/oracles."""

import math

import pytest
import torch

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.backbones import DGCNN
from mae3d.models.decoders import FoldingDecoder
from mae3d.models.layers.edge_conv import EdgeConv
from mae3d.models.methods import point_dvae_base, point_dvae_test
from mae3d.models.methods.point_dvae import divergence_from_uniform, gumbel_noise
from tests.oracles import point_bert as oracle

GROUPS, SIZE = 16, 8


def cloud(batch=3, points=96, seed=0):
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))


def small(**options):
    torch.manual_seed(0)
    return point_dvae_test(**options)


def official_model(**options):
    official = oracle.dvae_state(32, 24, 8, SIZE, 32)
    model = small(**options)
    model.load_state_dict(convert("point-bert", official).state)
    return model, official


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batches", [0, 50, 400])
def test_losses_equal_the_restatement(training, batches):
    model, official = official_model(temperature_steps=100, divergence_start=20, divergence_steps=60)
    model.train(training)
    model.batches.fill_(batches)
    points = cloud()
    noise = gumbel_noise(torch.empty(3, GROUPS, 24), torch.Generator().manual_seed(1))
    temperature, weight = {0: (1.0, 0.0), 50: (0.53125, 0.05), 400: (0.0625, 0.1)}[batches]
    expected = oracle.autoencode(points, noise, temperature, official, GROUPS, SIZE, training)
    losses = model(points, mode="loss", generator=torch.Generator().manual_seed(1))
    assert losses["temperature"].item() == pytest.approx(temperature, abs=1e-6)
    assert losses["loss_coarse"].item() == pytest.approx(expected["distances"][0].item(), rel=1e-5)
    assert losses["loss_fine"].item() == pytest.approx(expected["distances"][1].item(), rel=1e-5)
    assert losses["loss_divergence"].item() == pytest.approx(weight * expected["divergence"].item(), rel=1e-5)
    assert losses["codes_used"].item() == len(expected["scores"].argmax(-1).unique())
    assert int(model.batches) == batches + training


def test_gradients_equal_those_of_the_restatement():
    model, official = official_model(divergence_start=0, divergence_steps=1)
    model.batches.fill_(1)
    points = cloud()
    noise = gumbel_noise(torch.empty(3, GROUPS, 24), torch.Generator().manual_seed(1))
    pairs = {
        "codebook": "codebook",
        "encoder.first_conv.0.weight": "tokenizer.embedding.first.0.weight",
        "dgcnn_1.layer5.0.weight": "encoder.output.0.weight",
        "dgcnn_1.layer2.1.bias": "encoder.blocks.1.norm.bias",
        "dgcnn_2.layer1.0.weight": "graph.blocks.0.linear.weight",
        "decoder.mlp.2.weight": "decoder.coarse.2.weight",
        "decoder.final_conv.0.weight": "decoder.fold.0.weight",
    }
    for name in pairs:
        official[name].requires_grad_()
    temperature = float(model.schedule()[0])
    expected = oracle.autoencode(points, noise, temperature, official, GROUPS, SIZE, True)
    (sum(expected["distances"]) + 0.1 * expected["divergence"]).backward()
    losses = model.train()(points, mode="loss", generator=torch.Generator().manual_seed(1))
    sum(value for name, value in losses.items() if "loss" in name).backward()
    for name, ours in pairs.items():
        wanted = official[name].grad
        found = model.get_parameter(ours).grad.view_as(wanted)
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max(), name


def test_codes_and_points_equal_the_restatement():
    model, official = official_model()
    model.eval()
    points = cloud()
    tokens = model.tokenizer(points)
    expected = oracle.autoencode(points, torch.zeros(()), 1e-9, official, GROUPS, SIZE, False)
    codes = model.codes(tokens.content, tokens.coordinates)
    assert torch.equal(codes, expected["scores"].argmax(-1))
    torch.testing.assert_close(model(points), expected["fine"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.decode_codes(codes, tokens.coordinates), expected["fine"], rtol=1e-4, atol=1e-5)
    found = model.reconstruct(points)
    assert torch.equal(found.visible, tokens.coordinates)
    whole = (expected["fine"] + tokens.coordinates[:, :, None]).flatten(1, 2)
    torch.testing.assert_close(found.predicted, whole, rtol=1e-4, atol=1e-5)


def test_published_counts():
    with torch.device("meta"):
        model = point_dvae_base()
    assert sum(parameter.numel() for parameter in model.parameters()) == 27_620_891
    assert len(model.state_dict()) == 75 + 1  # and our counter of batches


def test_weights_start_as_torch_has_them():
    """Uniform within 1 / sqrt(inputs), of deviation 1 / sqrt(3 inputs); codes from the standard normal distribution."""
    model = small()
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear):
            deviation = layer.weight.std().item() * math.sqrt(3 * layer.in_features)
            assert deviation == pytest.approx(1, rel=0.15), name
    assert model.codebook.std().item() == pytest.approx(1, rel=0.1)


def test_a_hard_code_is_a_row_of_the_codebook():
    model = small().eval()
    tokens = model.tokenizer(cloud())
    scores = model.scores(tokens)
    codes = scores.argmax(-1)
    of_rows = model.graph(model.codebook[codes], tokens.coordinates)
    for weights in (model.assign(scores, hard=True), model.assign(scores.double(), 1e-9).float()):
        assert torch.equal(weights @ model.codebook, model.codebook[codes])
        assert torch.equal(model.features(weights, tokens.coordinates), of_rows)


def test_noise_decides_between_codes_by_their_probabilities():
    scores = torch.tensor([0.7, 0.2, 0.1]).log().expand(40_000, 1, 3)
    noise = gumbel_noise(scores, torch.Generator().manual_seed(0))
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.02)
    drawn = small().assign(scores, noise=noise, hard=True).mean(0).squeeze()
    torch.testing.assert_close(drawn, torch.tensor([0.7, 0.2, 0.1]), atol=0.01, rtol=0)


def test_divergence_is_zero_for_a_uniform_mean_only():
    each_its_own = 50.0 * torch.eye(6).repeat(2, 1, 1)  # the mean over the patches is uniform
    assert divergence_from_uniform(each_its_own).item() == pytest.approx(0.0, abs=1e-6)
    collapsing = [divergence_from_uniform(scale * torch.tensor([[[1.0, 0, 0, 0]] * 5])) for scale in (0, 1, 3, 500)]
    assert collapsing[0].item() == pytest.approx(0.0, abs=1e-6)
    assert collapsing[0] < collapsing[1] < collapsing[2] < collapsing[3] < math.inf  # e^-500 is 0 in float32
    scores = torch.randn(3, 5, 7, dtype=torch.float64)
    mean = scores.softmax(-1).mean(1)
    expected = sum((math.log(1 / 7) - row.log()).mean() for row in mean) / 3
    torch.testing.assert_close(divergence_from_uniform(scores), expected)


def test_schedules_are_the_published_ones():
    model = small()
    for batches, temperature, weight in (
        (0, 1.0, 0.0),
        (10_000, 0.0625 + 0.9375 * (1 + math.cos(0.1 * math.pi)) / 2, 0.0),
        (60_000, 0.0625 + 0.9375 * (1 + math.cos(0.6 * math.pi)) / 2, 0.05),
        (110_000, 0.0625, 0.1),
        (500_000, 0.0625, 0.1),
    ):
        model.batches.fill_(batches)
        found = model.schedule()
        assert found[0].item() == pytest.approx(temperature, abs=1e-6)
        assert found[1].item() == pytest.approx(weight, abs=1e-6)


def test_the_graph_follows_its_patches():
    torch.manual_seed(0)
    graph = DGCNN(6, 8, graph_dim=4)
    features, centers = torch.randn(2, 10, 6), torch.randn(2, 10, 3)
    order = torch.randperm(10)
    torch.testing.assert_close(graph(features[:, order], centers[:, order]), graph(features, centers)[:, order])
    torch.testing.assert_close(graph(features[:1], centers[:1]), graph(features, centers)[:1])
    assert graph(features[:, :2], centers[:, :2]).shape == (2, 2, 8)  # fewer patches than neighbours


@pytest.mark.parametrize("size", [(6, 10, 4, 4), (6, 8, 5, 4), (6, 8, 4, 0)])
def test_impossible_graphs_are_refused(size):
    with pytest.raises(ConfigError, match="out_dim must be a multiple of 4, graph_dim of 2 and neighbours at least 1"):
        DGCNN(*size)


def test_edges_lead_to_the_nearest_centres_of_the_source():
    torch.manual_seed(0)
    layer = EdgeConv(4, 8, norm="group").double()
    own, far = torch.randn(2, 5, 4, dtype=torch.float64), torch.randn(2, 7, 4, dtype=torch.float64)
    near = torch.randint(0, 7, (2, 5, 3))
    for b in range(2):
        pairs = torch.stack(
            [torch.stack([torch.cat((far[b, j] - x, x)) for j in row]) for x, row in zip(own[b], near[b])]
        )
        values = layer.linear(pairs).view(15, 4, 2)  # four groups of two channels
        values = (values - values.mean((0, 2), keepdim=True)) / (
            values.var((0, 2), correction=0, keepdim=True) + 1e-5
        ).sqrt()
        values = torch.where(values > 0, values, 0.2 * values).view(5, 3, 8).amax(1)
        torch.testing.assert_close(layer(own, near, far)[b], values)
    with pytest.raises(ConfigError, match='norm must be "batch" or "group"'):
        EdgeConv(4, 8, norm="layer")


def test_fine_points_surround_their_coarse_point():
    torch.manual_seed(0)
    decoder = FoldingDecoder(6, 8, 16, 12)
    torch.nn.init.zeros_(decoder.fold[-1].weight)
    torch.nn.init.zeros_(decoder.fold[-1].bias)
    coarse, fine = decoder(torch.randn(2, 5, 6))
    assert coarse.shape == (2, 5, 2, 3)
    assert torch.equal(fine, coarse.repeat_interleave(4, dim=2))
    with pytest.raises(ConfigError, match="group_size must be a multiple of 4, got 10"):
        FoldingDecoder(6, 10)


def test_only_training_counts_batches():
    model = small().eval()
    model(cloud(), mode="loss")
    assert int(model.batches) == 0
    model.train()(cloud(), mode="loss")
    again = small()
    again.load_state_dict(model.state_dict())
    assert int(again.batches) == 1


def test_noise_of_reconstructions_is_a_switch():
    model, _ = official_model()
    points = cloud()
    seeds = [torch.Generator().manual_seed(seed) for seed in (0, 1, 2)]
    plain = [model.reconstruct(points, generator).predicted for generator in seeds]
    noisy = [model.reconstruct(points, generator, noise=True).predicted for generator in seeds]
    assert torch.equal(plain[0], plain[1])
    assert not torch.equal(noisy[0], noisy[1])


def test_impossible_schedules_are_refused():
    with pytest.raises(ConfigError, match="temperature must be positive"):
        small(temperature=(1.0, 0.0))
    with pytest.raises(ConfigError, match="steps at least 1"):
        small(divergence_steps=0)
