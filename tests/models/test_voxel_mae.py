"""Voxel-MAE against a plain restatement of the official forward, and the properties the paper implies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.methods import VoxelMAE, voxel_mae_base, voxel_mae_intensity, voxel_mae_test
from mae3d.models.tokenizers import MeanVFE, VoxelTokenizer
from mae3d.structures import VoxelMask
from tests.models.batches import lidar_batch
from tests.oracles import voxel_mae as oracle

SETTING = oracle.Setting((-8, -8, -2), (1, 1, 4), (16, 16, 1), (4, 4), heads=2)
SCENE = {"point_range": (-8, -8, -2, 8, 8, 2), "voxel_size": (1, 1, 4), "window": (4, 4, 1), "outside": "clamp"}


@pytest.fixture
def official():
    """Model and official state with the same random weights, in float32."""
    torch.manual_seed(3)
    state = oracle.random_state(32, 12, 2, 1, 5)
    size = {"embed_dim": 32, "vfe_channels": (12,), "depth": 2, "decoder_depth": 1, "num_heads": 2, "num_points": 5}
    model = VoxelMAE(**size, **SCENE)
    model.load_state_dict(convert("voxel-mae", state).state)
    return model.train(), state


@pytest.fixture
def model():
    torch.manual_seed(0)
    return voxel_mae_test().train()


@pytest.fixture
def batch():
    example = lidar_batch(0)
    return {"points": example["points"], "offsets": example["offsets"]}


def drawn_mask(model, batch, seed=0):
    voxels = model.tokenizer(batch["points"], batch["offsets"])
    return model.masking(voxels, torch.Generator().manual_seed(seed))


def test_losses_and_gradients_equal_the_official_forward(official, batch):
    model, state = official
    mask = drawn_mask(model, batch)
    assert mask.num_visible > 20
    assert mask.num_masked > 60
    assert len(mask.empty) > 5
    ours = model(**batch, mode="loss", mask=mask)
    parameters = {name: value.clone().requires_grad_() for name, value in state.items() if value.is_floating_point()}
    theirs = oracle.losses(parameters, **batch, masked=mask.to_bool(), empty=mask.empty, setting=SETTING)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    sum(ours.values()).backward()
    sum(theirs.values()).backward()
    named = dict(model.named_parameters())
    translated = convert(
        "voxel-mae",
        {name: p.grad if p.grad is not None else p for name, p in parameters.items()}
        | {name: value for name, value in state.items() if not value.is_floating_point()},
    )
    for name, parameter in named.items():
        torch.testing.assert_close(parameter.grad, translated.state[name], rtol=2e-3, atol=2e-5, msg=name)


def test_published_size_has_the_published_number_of_parameters():
    with torch.device("meta"):
        assert sum(p.numel() for p in voxel_mae_base().parameters()) == 3_731_104
        assert voxel_mae_intensity().tokenizer.encoder.layers[0].linear.in_features == 11


def test_loss_does_not_depend_on_the_order_of_points(model, batch):
    mask = drawn_mask(model, batch)
    order = torch.cat(
        [start + torch.randperm(int(stop - start)) for start, stop in zip(batch["offsets"], batch["offsets"][1:])]
    )
    shuffled = {**batch, "points": batch["points"][order]}
    expected = model(**batch, mode="loss", mask=mask)
    torch.testing.assert_close(model(**shuffled, mode="loss", mask=mask), expected, rtol=1e-5, atol=1e-6)


def test_nothing_hidden_leaves_point_terms_at_zero(batch):
    torch.manual_seed(0)
    model = voxel_mae_test(mask_ratio=0.0).train()
    losses = model(**batch, mode="loss")
    assert [losses[name].item() for name in losses if "occupancy" not in name] == [0.0, 0.0, 0.0]
    assert losses["loss_occupancy"] > 0
    result = model.predict_masked(**batch, generator=torch.Generator().manual_seed(0))
    voxels = result.voxels
    everything = torch.cat(
        (model.encoder(voxels).features, model.decoder.mask_token.expand(len(result.mask.empty), -1))
    )
    coordinates = torch.cat((voxels.coordinates, result.mask.empty))
    expected = model.decoder.transformer.encode(everything, coordinates, voxels.grid, voxels.batch_size)
    torch.testing.assert_close(result.decoded, expected)


def test_targets_lie_in_the_unit_cube_and_count_every_point(model, batch):
    result = model.predict_masked(**batch)
    points, offsets = result.target.points, result.target_offsets
    assert (points.abs() <= 1 + 1e-5).all()
    assert points.abs().max() > 0.9
    assert torch.equal(offsets.diff().float(), result.target.count)


def test_moving_the_cloud_by_a_voxel_changes_no_target(model, batch):
    batch = {**batch, "points": batch["points"] * torch.tensor([0.8, 0.8, 1, 1])}
    mask = drawn_mask(model, batch)
    moved = {**batch, "points": batch["points"] + torch.tensor([1.0, -1.0, 0, 0])}
    here, there = (model.predict_masked(**b, mask=mask) for b in (batch, moved))
    assert not torch.equal(here.voxels.coordinates, there.voxels.coordinates)
    torch.testing.assert_close(there.target.points, here.target.points, rtol=0, atol=2e-6)
    assert torch.equal(there.target.count, here.target.count)


def test_hidden_voxel_features_never_matter(model, batch, monkeypatch):
    mask = drawn_mask(model, batch)
    expected = model(**batch, mode="loss", mask=mask)
    tokenize = model.tokenizer.forward

    def with_noise(points, offsets):
        voxels = tokenize(points, offsets)
        return voxels.replace_features(voxels.features.index_fill(0, mask.masked, 7.0))

    monkeypatch.setattr(model.tokenizer, "forward", with_noise)
    assert all(torch.equal(value, expected[name]) for name, value in model(**batch, mode="loss", mask=mask).items())


def test_occupancy_gradient_reaches_the_encoder(model, batch):
    model(**batch, mode="loss")["loss_occupancy"].backward()
    for name in ("encoder.blocks.0.attn.qkv.weight", "tokenizer.encoder.layers.0.linear.weight"):
        assert model.get_parameter(name).grad.abs().sum() > 0


def test_a_single_point_is_compared_with_its_nearest_prediction(model):
    cells = torch.cartesian_prod(torch.arange(-4.0, 4), torch.arange(-4.0, 4))
    generator = torch.Generator().manual_seed(0)
    offset = torch.rand(64, 2, generator=generator) * 0.9
    points = torch.cat((cells + offset, torch.zeros(64, 2)), dim=1)
    batch = {"points": points, "offsets": torch.tensor([0, 64])}
    mask = VoxelMask.from_bool(torch.arange(64) % 2 == 1)
    result = model.predict_masked(**batch, mask=mask)
    squared = (result.prediction.points - result.target.points.unsqueeze(1)).square().sum(-1)  # [M, K]
    losses = model(**batch, mode="loss", mask=mask)
    torch.testing.assert_close(losses["loss_points_to_prediction"], squared.amin(1).mean())
    torch.testing.assert_close(losses["loss_points_to_target"], squared.mean())


def test_voxels_with_many_points_keep_a_random_subset(batch):
    model = voxel_mae_test(max_target_points=2)
    mask = drawn_mask(model, batch)
    every = voxel_mae_test().predict_masked(**batch, mask=mask)
    few = [model.predict_masked(**batch, mask=mask, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(few[0].target_offsets.diff(), every.target.count.long().clamp(max=2))
    assert torch.equal(few[0].target.points, few[1].target.points)
    assert not torch.equal(few[0].target.points, few[2].target.points)
    assert torch.equal(few[0].target.count, every.target.count)  # the count is that of all points


@pytest.mark.parametrize("left_out", ["points", "count", "occupancy"])
def test_every_objective_can_be_left_out(batch, left_out):
    torch.manual_seed(0)
    weights = {"points": 1.0, "count": 0.1, "occupancy": 1.0}
    del weights[left_out]
    model = voxel_mae_test(objectives=weights).train()
    losses = model(**batch, mode="loss")
    assert not [name for name in losses if left_out in name]
    assert left_out not in model.prediction
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert (model.masking(model.tokenizer(**batch)).empty is None) == (left_out == "occupancy")


def test_objective_weights_scale_their_terms(batch):
    losses = []
    for weight in (1.0, 0.1):
        torch.manual_seed(0)
        losses.append(voxel_mae_test(objectives={"count": weight}).eval()(**batch, mode="loss")["loss_count"])
    torch.testing.assert_close(losses[1], 0.1 * losses[0])


def test_objectives_without_weights_weigh_one():
    assert voxel_mae_test(objectives=("points", "occupancy")).objectives == {"points": 1.0, "occupancy": 1.0}


def test_unknown_objectives_are_named():
    with pytest.raises(ConfigError, match="objectives"):
        voxel_mae_test(objectives={"normals": 1.0})


def test_reconstruction_lies_in_the_hidden_voxels(model, batch):
    result = model.reconstruct(**batch, generator=torch.Generator().manual_seed(0))
    centers = result.voxels.centers[result.mask.masked]
    assert result.predicted.shape == (result.mask.num_masked, 4, 3)
    assert ((result.predicted - centers.unsqueeze(1)).abs() <= torch.tensor([0.5, 0.5, 2.0]) + 1e-6).all()
    assert result.occupancy.shape == (len(result.voxels) + len(result.mask.empty),)
    assert (result.occupancy > 0.9).all()  # the head starts almost sure that nothing is empty
    assert model.training


def test_scenes_of_a_reconstruction_put_together_are_the_batch(model, batch):
    result = model.reconstruct(**batch, generator=torch.Generator().manual_seed(0))
    scenes = [result.scene(index) for index in range(3)]
    assert torch.equal(torch.cat([scene.points for scene in scenes]), result.points)
    assert torch.equal(torch.cat([scene.predicted for scene in scenes]), result.predicted)
    assert sum(len(scene.mask.empty) for scene in scenes) == len(result.mask.empty)
    hidden = torch.cat([scene.voxels.centers[scene.mask.masked] for scene in scenes])
    assert torch.equal(hidden, result.voxels.centers[result.mask.masked])
    with pytest.raises(IndexError, match="3 scenes"):
        result.scene(3)


def test_features_of_a_sample_do_not_depend_on_its_batch(model, batch):
    together = model.extract_features(**batch)
    start, stop = batch["offsets"][:2].tolist()
    alone = model.extract_features(batch["points"][start:stop], torch.tensor([0, stop - start]))
    torch.testing.assert_close(together[:1], alone)


def test_samples_without_points_are_no_error(model):
    nothing = {"points": torch.zeros(0, 4), "offsets": torch.zeros(3, dtype=torch.int64)}
    losses = model(**nothing, mode="loss")
    assert all(value.item() == 0 for value in losses.values())
    assert model.extract_features(**nothing).shape == (2, 32)


def test_wrong_number_of_columns_is_named(model):
    with pytest.raises(ConfigError, match=r"4 columns.*in_channels"):
        model(torch.zeros(5, 6), offsets=torch.tensor([0, 5]))


def test_outside_points_are_dropped_or_clamped(batch):
    points = torch.tensor([[0.2, 0.2, 0, 0], [99.0, 0.2, 0, 0]])
    for outside, voxels in (("drop", 1), ("clamp", 2)):
        tokenizer = VoxelTokenizer(SCENE["point_range"], SCENE["voxel_size"], MeanVFE(), outside=outside)
        found = tokenizer(points, torch.tensor([0, 2]))
        assert len(found) == voxels
        torch.testing.assert_close(found.features[0], points[0])


def test_mean_encoder_averages_every_column(batch):
    found = VoxelTokenizer(SCENE["point_range"], SCENE["voxel_size"], MeanVFE())(**batch)
    expected = [batch["points"][found.point_to_voxel == row].mean(0) for row in range(len(found))]
    torch.testing.assert_close(found.features, torch.stack(expected))


def test_masks_move_between_devices_whole(model, batch):
    mask = drawn_mask(model, batch)
    moved = mask.to("cpu")
    assert torch.equal(moved.empty, mask.empty)
    assert replace(mask, empty=None).to("cpu").empty is None


def test_a_mask_of_another_batch_is_an_error(model, batch):
    with pytest.raises(ValueError, match="mask is of 5 voxels"):
        model(**batch, mode="loss", mask=VoxelMask.none(5))
