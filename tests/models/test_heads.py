import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mae3d.datasets.transforms import SampleFarthest, SampleRandom, ScaleAndTranslate
from mae3d.errors import ConfigError
from mae3d.evaluation import VotedAccuracy
from mae3d.models.backbones import ViT
from mae3d.models.heads import (
    PointClassifier,
    Voting,
    classification_head,
    point_mae_classifier_test,
    point_mae_segmenter_test,
)
from mae3d.models.heads.part_segmentation import interpolate
from mae3d.models.layers import CoordinateMlp
from mae3d.models.tokenizers import PointPatchTokenizer


def clouds(batch=4, points=96, seed=0):
    return torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))


def classifier(**options):
    torch.manual_seed(0)
    return point_mae_classifier_test(**options)


# Classification


def test_head_reads_class_latent_and_maximum():
    model = classifier().eval()
    points = clouds()
    tokens = model.tokenizer(points)
    latents = model.encoder(tokens.features, model.position_embedding(tokens.coordinates))
    expected = torch.cat((latents[:, 0], latents[:, 1:].max(1).values), 1)
    assert torch.equal(model.features(points), expected)
    assert torch.equal(model(points), model.head(expected))


@pytest.mark.parametrize(("kind", "indices"), [("mlp3", [0, 1, 4, 5, 8]), ("mlp2", [0, 3]), ("linear", [0])])
def test_head_layers_have_the_published_numbers(kind, indices):
    head = classification_head(kind, 64, 5)
    assert sorted({int(name.split(".")[0]) for name in head.state_dict()}) == indices
    assert head.eval()(torch.zeros(2, 64)).shape == (2, 5)


def test_label_smoothing_spreads_over_the_other_classes():
    model = classifier(label_smoothing=0.2).eval()
    label = torch.tensor([0, 4, 2, 2])
    scores = model(clouds())
    target = torch.full((4, 5), 0.2 / 4)
    target[torch.arange(4), label] = 0.8
    expected = -(target * scores.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(model(clouds(), mode="loss", label=label)["loss"], expected)
    plain = classifier().eval()
    torch.testing.assert_close(plain(clouds(), mode="loss", label=label)["loss"], F.cross_entropy(scores, label))


@pytest.mark.parametrize("head", ["linear", "mlp3"])
def test_frozen_transfer_trains_class_token_and_head_alone(head):
    model = classifier(freeze=True, head=head).train()
    model(clouds(), mode="loss", label=torch.arange(4))["loss"].backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    head_names = {f"head.{name}" for name, _ in model.head.named_parameters()}
    assert trained == {"encoder.class_token", "encoder.class_position"} | head_names
    assert model.tokenizer.embedding.first[1].num_batches_tracked == 1


def test_training_accuracy_is_logged_but_not_summed():
    losses = classifier()(clouds(), mode="loss", label=torch.arange(4))
    assert set(losses) == {"loss", "accuracy"}
    assert 0 <= losses["accuracy"] <= 1


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match="kind must be"):
        classifier(head="mlp4")
    with pytest.raises(ConfigError, match="needs class_token=True"):
        PointClassifier(PointPatchTokenizer(8, 8, 32), CoordinateMlp(32), ViT(32, 1, 2), 5)
    with pytest.raises(ValueError, match="mode must be"):
        classifier()(clouds(), mode="train")


# Voting


def test_one_plain_view_is_the_plain_score():
    model = classifier(voting=Voting([], times=1)).eval()
    rows = model(clouds(), mode="predict", label=torch.arange(4))
    plain = model(clouds())
    for row, scores in zip(rows, plain):
        assert torch.equal(row["vote_scores"], scores[None])
        torch.testing.assert_close(row["scores"], scores)


def test_votes_are_means_over_views():
    shifts = iter(range(100))

    def shifted(batch, generator):
        return {"points": batch["points"] + next(shifts)}

    voting = Voting([shifted], pool=[lambda batch, generator: {"points": 2 * batch["points"]}], times=3, repeats=2)
    points = clouds(2, 5)
    votes = voting(lambda p: p.sum(1), points)
    total = 2 * points.sum(1)
    expected = torch.stack((total + 5 * 1.0, total + 5 * 4.0), dim=1)  # mean shift of views 0-2 and 3-5
    torch.testing.assert_close(votes, expected)


def test_published_voting_from_configs():
    voting = {
        "type": Voting,
        "plain": [{"type": SampleFarthest, "npoints": 64}],
        "pool": [{"type": SampleFarthest, "npoints": 80}],
        "views": [{"type": SampleRandom, "npoints": 64}, {"type": ScaleAndTranslate}],
        "times": 2,
        "repeats": 3,
    }
    model = classifier(voting=voting).eval()
    draws = [
        model(clouds(), mode="predict", label=torch.arange(4), generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert draws[0][0]["vote_scores"].shape == (3, 5)
    assert torch.equal(draws[0][3]["vote_scores"], draws[1][3]["vote_scores"])
    assert not torch.equal(draws[0][3]["vote_scores"], draws[2][3]["vote_scores"])
    metric = VotedAccuracy()
    metric.process(draws[0])
    result = metric.compute()
    assert result["vote_best"] >= result["vote_mean"]


def test_no_votes_is_refused():
    with pytest.raises(ConfigError, match="times and repeats"):
        Voting([], times=0)


# Part segmentation


def test_interpolation_is_the_definition():
    points, centers, features = clouds(2, 30), clouds(2, 7, seed=1), clouds(2, 7, seed=2)
    squared = (points[:, :, None] - centers[:, None]).square().sum(-1)
    near = squared.topk(3, largest=False)
    weights = 1 / (near.values + 1e-8)
    weights = weights / weights.sum(-1, keepdim=True)
    picked = torch.stack([features[b][near.indices[b]] for b in range(2)])
    torch.testing.assert_close(interpolate(points, centers, features), (picked * weights[..., None]).sum(2))
    assert torch.allclose(interpolate(centers, centers, features), features, atol=1e-4)


def test_segmenter_modes():
    torch.manual_seed(0)
    model = point_mae_segmenter_test().eval()
    points, label = clouds(2), torch.tensor([0, 15])
    parts = torch.randint(0, 50, (2, 96))
    scores = model(points, label=label)
    torch.testing.assert_close(scores.exp().sum(-1), torch.ones(2, 96))
    losses = model(points, mode="loss", label=label, part_label=parts)
    torch.testing.assert_close(losses["loss"], F.nll_loss(scores.transpose(1, 2), parts))
    rows = model(points, mode="predict", label=label, part_label=parts)
    assert torch.equal(rows[1]["scores"], scores[1])
    assert torch.equal(rows[1]["part_label"], parts[1])
    assert "part_label" not in model(points, mode="predict", label=label)[0]


def test_category_matters_and_point_order_does_not():
    torch.manual_seed(0)
    model = point_mae_segmenter_test().eval()
    points = clouds(1)
    scores = model(points, label=torch.tensor([3]))
    assert not torch.allclose(scores, model(points, label=torch.tensor([4])), atol=1e-4)
    order = torch.cat((torch.zeros(1, dtype=torch.int64), torch.randperm(95) + 1))
    torch.testing.assert_close(model(points[:, order], label=torch.tensor([3])), scores[:, order])


def test_blocks_that_are_read():
    torch.manual_seed(0)
    model = point_mae_segmenter_test(layers=(2,)).eval()
    seen = {}
    hook = model.propagation.register_forward_hook(lambda module, inputs, output: seen.update(levels=inputs[3]))
    model(clouds(1), label=torch.tensor([0]))
    hook.remove()
    tokens = model.tokenizer(clouds(1))
    expected = model.encoder(tokens.features, model.position_embedding(tokens.coordinates))
    torch.testing.assert_close(seen["levels"], expected)
    assert isinstance(model.head, nn.Module)
