"""GD-MAE and T-MAE against a plain restatement of the official forward, and the properties of the papers."""

from __future__ import annotations

import pytest
import torch

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.backbones.sst_pyramid import pillar_input, projections
from mae3d.models.heads.detection import gd_mae_centerpoint, t_mae_centerpoint
from mae3d.models.methods import GDMAE, TMAE, gd_mae_once, gd_mae_test, t_mae_once, t_mae_test
from mae3d.models.methods.gd_mae import SMALLEST
from mae3d.models.targets.voxels import VoxelPointTarget
from mae3d.structures import VoxelGrid, VoxelMask, Voxels
from tests.models.batches import lidar_pair_batch
from tests.oracles import t_mae as oracle

PUBLISHED = {"outside": "truncate", "target_select": "arrival"}
DETECTOR = {
    "classes": ("Car", "Pedestrian"),
    "point_range": (-8.0, -8.0, -2.0, 8.0, 8.0, 2.0),
    "pillar": 1.0,
    "in_channels": 4,
    "vfe_channels": (8,),
    "widths": (16, 16, 16),
    "depth": 1,
    "embed_dim": 8,
    "encoder": {"num_heads": 2, "window": 4},
    "head": {"shared_channels": 8},
}
GRID = VoxelGrid((0.0, 0.0, 0.0, 16.0, 16.0, 1.0), (1.0, 1.0, 1.0))


@pytest.fixture
def batch():
    """Two frames of three samples; some points lie up to three cells outside the range."""
    example = lidar_pair_batch(0)
    for name in ("points", "previous_points"):
        example[name][::7, :3] *= 1.3
    return {name: example[name] for name in ("points", "offsets", "previous_points", "previous_offsets")}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return t_mae_test().train()


def drawn_mask(model, batch, seed=0):
    voxels = model.tokenizer(batch["points"], batch["offsets"])
    return model.masking(voxels, torch.Generator().manual_seed(seed))


def single(batch):
    return {"points": batch["points"], "offsets": batch["offsets"]}


@pytest.mark.parametrize("system", ["t-mae", "gd-mae"])
def test_loss_and_gradients_equal_the_official_forward(batch, system):
    torch.manual_seed(3)
    temporal = system == "t-mae"
    state = oracle.random_state(temporal=temporal)
    setting = oracle.Setting(vfe_eps=1e-5 if temporal else 1e-3)
    model = (TMAE if temporal else GDMAE)(**{**SMALLEST, **PUBLISHED})
    model.load_state_dict(convert(system, state).state)
    inputs = batch if temporal else single(batch)
    mask = drawn_mask(model, batch)
    assert mask.num_visible > 20
    assert mask.num_masked > 100
    ours = model.train()(**inputs, mode="loss", mask=mask)
    parameters = {name: value.clone().requires_grad_() for name, value in state.items() if value.is_floating_point()}
    frames = [(batch["points"], batch["offsets"]), (batch["previous_points"], batch["previous_offsets"])]
    theirs = oracle.loss(parameters, frames if temporal else frames[:1], mask.to_bool(), setting)
    torch.testing.assert_close(sum(ours.values()), theirs, rtol=1e-5, atol=1e-6)
    sum(ours.values()).backward()
    theirs.backward()
    named = dict(model.named_parameters())
    buffers = {name: value for name, value in state.items() if not value.is_floating_point()}
    gradients = {name: p.grad if p.grad is not None else p for name, p in parameters.items()}
    translated = convert(system, gradients | buffers).state
    for name, parameter in named.items():
        torch.testing.assert_close(parameter.grad, translated[name], rtol=5e-3, atol=5e-5, msg=name)


@pytest.mark.parametrize("system", ["t-mae", "gd-mae"])
def test_detector_map_equals_the_official_forward(batch, system):
    torch.manual_seed(5)
    temporal = system == "t-mae"
    state = oracle.random_state(temporal=temporal, detector_classes=2)
    build = t_mae_centerpoint if temporal else gd_mae_centerpoint
    detector = build(**{**DETECTOR, "head": {}})
    detector.tokenizer.outside = "truncate"
    detector.load_state_dict(convert(system, state).state)
    levels = detector.train().encode(**batch)
    setting = oracle.Setting(vfe_eps=1e-5 if temporal else 1e-3)
    frames = []
    for points, offsets in (
        (batch["points"], batch["offsets"]),
        (batch["previous_points"], batch["previous_offsets"]),
    ):
        cells, inside, index = oracle.pillars(points, offsets, setting)
        frames.append((cells, oracle.voxel_features(state, inside, index, cells, setting)))
    theirs = oracle.scales(state, frames[0], frames[1] if temporal else None, setting)
    for level, ((_, features), _) in zip(levels, theirs):
        torch.testing.assert_close(level.features, features, rtol=1e-4, atol=1e-5)
    expected = oracle.fuse(state, theirs, setting, "")
    torch.testing.assert_close(detector.bev_backbone[0](levels), expected, rtol=1e-4, atol=1e-4)


def test_published_sizes_have_the_counted_parameters():
    counted = {t_mae_once: (11_793_218, 54, 2_665_746), gd_mae_once: (8_091_452, 36, 1_777_164)}
    with torch.device("meta"):
        for build, (total, tensors, frozen) in counted.items():
            model = build(train_projections=False)
            assert sum(p.numel() for p in model.parameters()) == total
            held = [p for p in model.parameters() if not p.requires_grad]
            assert (len(held), sum(p.numel() for p in held)) == (tensors, frozen)


def test_published_optimiser_never_moves_attention_projections(batch):
    torch.manual_seed(0)
    model = t_mae_test(train_projections=False).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1)
    sum(model(**batch, mode="loss").values()).backward()
    optimizer.step()
    held = {id(p) for p in projections(model)}
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) == (id(parameter) in held), name


def test_visible_pillars_predictions_carry_no_gradient(model, batch):
    result = model.predict_masked(**batch)
    result.decoded.retain_grad()
    sum(model.weigh(result).values()).backward()
    assert (result.decoded.grad[result.mask.visible] == 0).all()
    assert (result.decoded.grad[result.mask.masked] != 0).any(dim=1).all()


def test_loss_is_in_square_metres(batch):
    """Ten times the scene on ten times the pillars, predictions ten times as far: a hundred times the loss."""
    torch.manual_seed(0)
    small = t_mae_test().eval()
    large = t_mae_test(point_range=[10 * v for v in SMALLEST["point_range"]], pillar=10.0).eval()
    mask = drawn_mask(small, batch)
    losses = []
    for model, scale in ((small, 1.0), (large, 10.0)):
        scaled = {k: torch.cat((v[:, :3] * scale, v[:, 3:]), 1) if "points" in k else v for k, v in batch.items()}
        with torch.no_grad():
            result = model.predict_masked(**scaled, mask=mask)
            predicted = torch.linspace(-0.4, 0.4, result.prediction.points.numel()).view_as(result.prediction.points)
            values = result.prediction._replace(points=scale * predicted)
            losses.append(sum(model.weigh(result._replace(prediction=values)).values()))
    torch.testing.assert_close(losses[1], 100 * losses[0], rtol=1e-4, atol=0)


def test_kept_count_is_exact_and_masks_differ():
    rows = torch.cartesian_prod(torch.arange(3), torch.tensor([0]), torch.arange(16), torch.arange(16))
    rows = rows[rows[:, 0].lt(2) | rows[:, 2].lt(1)]
    voxels = Voxels(rows, torch.tensor([0, 256, 512, 528]), GRID)
    for ratio, kept in ((0.75, (64, 64, 4)), (0.85, (38, 38, 2)), (0.9, (25, 25, 1))):
        model = gd_mae_test(mask_ratio=ratio)
        visible = model.masking(voxels, torch.Generator().manual_seed(0)).visible
        assert tuple(torch.bincount(rows[visible, 0], minlength=3).tolist()) == kept
        assert kept[0] == int(256 * (1 - ratio))
        first, second = (visible[rows[visible, 0] == sample] - 256 * sample for sample in (0, 1))
        assert not torch.equal(first, second)


def test_arrival_targets_fill_their_slots_in_turn():
    grid = VoxelGrid((0.0, 0.0, 0.0, 2.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    points = torch.rand(103, 3, generator=torch.Generator().manual_seed(0))
    points[3:, 0] += 1
    voxels = Voxels.from_points(points, torch.tensor([0, 103]), grid)
    mask = VoxelMask.from_bool(torch.tensor([True, True]))
    target = VoxelPointTarget(64, "metre", "arrival")(points, voxels, mask)
    assert target.offsets.tolist() == [0, 64, 128]
    few, many = target.points.split(64)
    where = points[:3] - torch.tensor([0.5, 0.5, 0.5])
    assert [(few == row).all(1).sum().item() for row in where] == [22, 21, 21]
    torch.testing.assert_close(many, points[3:67] - torch.tensor([1.5, 0.5, 0.5]))
    sound = VoxelPointTarget(64, "metre")(points, voxels, mask, torch.Generator().manual_seed(0))
    assert sound.offsets.tolist() == [0, 3, 67]
    torch.testing.assert_close(sound.points[:3], where)


def test_truncated_cells_reach_below_the_range():
    points = torch.tensor([[0.0, 0, 0, 0], [0, 0, -5.9, 0], [0, 0, -6.1, 0], [-8.5, 0, 0, 0], [0, 0, 2.1, 0]])
    counts = {}
    for outside in ("drop", "truncate"):
        voxels = t_mae_test(outside=outside).tokenizer(points, torch.tensor([0, 5]))
        counts[outside] = (voxels.point_to_voxel >= 0).tolist()
    assert counts == {"drop": [True, False, False, False, False], "truncate": [True, True, False, True, False]}


def test_nothing_hidden_gives_the_detectors_map(batch):
    torch.manual_seed(0)
    model, detector = t_mae_test(mask_ratio=0.0).eval(), t_mae_centerpoint(**DETECTOR).eval()
    shared = {n: v for n, v in model.state_dict().items() if n.startswith(("tokenizer.", "encoder."))}
    detector.load_state_dict(shared, strict=False)
    detector.bev_backbone[0].load_state_dict(model.decoder.fusion.state_dict())
    result = model.predict_masked(**batch)
    cloud, _, row, column = result.voxels.coordinates.unbind(1)
    torch.testing.assert_close(
        result.decoded, detector.bev_backbone[0](detector.encode(**batch))[cloud, :, row, column]
    )


def test_published_no_gradient_option_trains_the_pyramid_on_the_current_frame_alone(batch):
    torch.manual_seed(0)
    model = t_mae_test()
    model.encoder.previous_gradient = False
    points = batch["previous_points"].clone().requires_grad_()
    sum(model(**{**batch, "previous_points": points}, mode="loss").values()).backward()
    weight = model.encoder.stages[2].out[0].weight
    assert weight.grad.abs().sum() > 0
    with_both = t_mae_test()
    with_both.load_state_dict(model.state_dict())
    sum(with_both(**batch, mode="loss").values()).backward()
    assert not torch.equal(with_both.encoder.stages[2].out[0].weight.grad, weight.grad)


def test_previous_frame_matters(model, batch):
    mask = drawn_mask(model, batch)
    here = model.predict_masked(**batch, mask=mask).prediction.points
    other = {**batch, "previous_points": batch["previous_points"].flip(0)}
    assert not torch.allclose(here, model.predict_masked(**other, mask=mask).prediction.points)


def test_frames_without_points_are_no_error(model, batch):
    nothing = {"previous_points": torch.zeros(0, 4), "previous_offsets": torch.zeros(4, dtype=torch.int64)}
    assert all(v.isfinite() for v in model(**{**batch, **nothing}, mode="loss").values())
    empty = {"points": torch.zeros(0, 4), "offsets": torch.zeros(4, dtype=torch.int64), **nothing}
    assert all(v.item() == 0 for v in model(**empty, mode="loss").values())
    assert model.extract_features(**empty).shape == (3, 96)


def test_what_is_missing_or_does_not_fit_is_named(model, batch):
    with pytest.raises(ConfigError, match=r"lacks previous_points, previous_offsets.*previous=dict"):
        model(**single(batch), mode="loss")
    with pytest.raises(ConfigError, match=r"lacks previous_points.*previous=dict"):
        t_mae_centerpoint(**DETECTOR)(**single(batch))
    with pytest.raises(ConfigError, match="one grid and batch size"):
        model(**{**batch, "previous_offsets": batch["previous_offsets"][[0, -1]]}, mode="loss")
    with pytest.raises(ConfigError, match=r"16 x 18 pillars.*multiples of 4"):
        gd_mae_test(point_range=(-8.0, -8.0, -2.0, 8.0, 10.0, 2.0))(**single(batch))
    with pytest.raises(ConfigError, match="one cell in height"):
        pillar_input(
            Voxels(
                torch.zeros(1, 4, dtype=torch.int64),
                torch.tensor([0, 1]),
                VoxelGrid((0, 0, 0, 1, 1, 2), (1, 1, 1)),
                torch.zeros(1, 4),
            )
        )
    with pytest.raises(ConfigError, match="ratio"):
        gd_mae_test(mask_ratio=1.2)


def test_reconstructions_show_both_frames_of_each_scene(model, batch):
    result = model.reconstruct(**batch, generator=torch.Generator().manual_seed(0)).to("cpu")
    assert result.predicted.shape == (result.mask.num_masked, 4, 3)
    scene = result.scene(1)
    start, stop = batch["previous_offsets"][1:3].tolist()
    assert torch.equal(scene.previous_points, batch["previous_points"][start:stop])
    assert scene.previous_offsets.tolist() == [0, stop - start]
    shift = result.predicted - result.voxels.centers[result.mask.masked].unsqueeze(1)
    assert shift.abs().max() < 10  # metres from the centre of the pillar
