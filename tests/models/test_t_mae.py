"""GD-MAE and T-MAE against a plain restatement of the official forward, and the properties of the papers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.backbones.sst_pyramid import WindowCrossAttention, cells_of, pillar_input, projections
from mae3d.models.heads.detection import gd_mae_centerpoint, t_mae_centerpoint
from mae3d.models.layers.attention import Attention, CrossAttention, attention
from mae3d.models.layers.packing import Packing
from mae3d.models.layers.windows import plan_joint_windows, plan_windows
from mae3d.models.methods import GDMAE, TMAE, gd_mae_once, gd_mae_test, t_mae_once, t_mae_test
from mae3d.models.methods.gd_mae import SMALLEST
from mae3d.models.targets.voxels import VoxelPointTarget
from mae3d.structures import VoxelGrid, VoxelMask, Voxels
from mae3d.structures.sparse_tensor import SparseTensor
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


def sparse(cells, width=8, seed=0):
    """A sparse tensor of random features on cells [V, 3] (sample, y, x) of the 16 x 16 grid."""
    offsets = torch.searchsorted(cells[:, 0].contiguous(), torch.arange(int(cells[:, 0].max()) + 2))
    features = torch.randn(len(cells), width, generator=torch.Generator().manual_seed(seed))
    return pillar_input(Voxels(flat(cells), offsets, GRID, features))


def flat(cells):
    """(sample, y, x) -> (sample, 0, y, x)."""
    return torch.cat((cells[:, :1], torch.nn.functional.pad(cells[:, 1:], (1, 0))), dim=1)


def random_cells(seed, count, samples=2, low=0, high=16):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randperm(samples * (high - low) ** 2, generator=generator)[:count].sort().values
    side = high - low
    return torch.stack((keys // side**2, keys // side % side + low, keys % side + low), dim=1)


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


def test_a_copied_frame_makes_cross_attention_self_attention():
    torch.manual_seed(0)
    cross = WindowCrossAttention(8, 2, 4, "key")
    x = sparse(random_cells(0, 150))
    cells, grid = cells_of(x)
    plan = plan_joint_windows(cells, cells, (4, 4, 1), grid, shifted=False)
    assert torch.equal(plan.query_rows, plan.key_rows)
    own = plan_windows(cells, (4, 4, 1), grid, 2, shifted=False)
    block = cross.blocks[0]
    features = x.features
    at = cross.position(plan.query_cells)
    asked = block.attn(features[plan.query_rows], features[plan.key_rows], plan.packing, at, at)
    same = Attention(8, 2, similarity="cosine")
    same.load_state_dict(block.attn.state_dict())
    looked = same(features[own.order], own.packing, cross.position(own.cells))[own.inverse]
    torch.testing.assert_close(asked, looked[plan.query_rows])


@pytest.mark.parametrize("shifted", [False, True])
def test_joint_windows_against_a_loop(shifted):
    window, grid = (4, 4, 1), (16, 16, 1)
    sets = [random_cells(seed, count)[torch.randperm(count)] for seed, count in ((1, 90), (2, 40))]
    sets = [flat(rows) for rows in sets]
    plan = plan_joint_windows(*sets, window, grid, shifted=shifted)
    numbers = [oracle.windows(s[:, [0, 2, 3]], shifted, 4)[0].tolist() for s in sets]
    shared = {tuple(n) for n in numbers[0]} & {tuple(n) for n in numbers[1]}
    assert 0 < len(shared) < len({tuple(n) for n in numbers[0]})
    for rows, own, side in zip((plan.query_rows, plan.key_rows), numbers, (plan.packing.query, plan.packing.key)):
        assert sorted(rows.tolist()) == [row for row, number in enumerate(own) if tuple(number) in shared]
        found = [{tuple(own[r]) for r in part.tolist()} for part in rows.split(side.offsets.diff().tolist())]
        assert all(len(numbers) == 1 for numbers in found)
    pair = [
        [tuple(own[r]) for r in rows[side.offsets[:-1]].tolist()]
        for rows, own, side in (
            (plan.query_rows, numbers[0], plan.packing.query),
            (plan.key_rows, numbers[1], plan.packing.key),
        )
    ]
    assert pair[0] == pair[1]


def test_padded_cross_attention_equals_windows_one_by_one():
    torch.manual_seed(0)
    layer = CrossAttention(8, 2, similarity="cosine")
    with torch.no_grad():
        layer.tau.fill_(0.3)
    sets = [flat(random_cells(3, 200)), flat(random_cells(4, 70))]
    plan = plan_joint_windows(*sets, (4, 4, 1), (16, 16, 1), shifted=True)
    x, y = torch.randn(len(plan.query_rows), 8), torch.randn(len(plan.key_rows), 8)
    zero = torch.zeros_like(x), torch.zeros_like(y)
    together = layer(x, y, plan.packing, *zero)
    query, key = plan.packing.query.offsets.tolist(), plan.packing.key.offsets.tolist()
    for w in range(len(query) - 1):
        mine, theirs = x[query[w] : query[w + 1]], y[key[w] : key[w + 1]]
        visible = torch.ones(len(mine), len(theirs), dtype=torch.bool)
        state = {
            "a.in_proj_weight": layer.qkv.weight,
            "a.in_proj_bias": layer.qkv.bias,
            "a.tau": layer.tau,
            "a.out_proj.weight": layer.proj.weight,
            "a.out_proj.bias": layer.proj.bias,
        }
        alone = oracle.attend(state, "a", mine, 0 * mine, theirs, 0 * theirs, visible, 2)
        torch.testing.assert_close(together[query[w] : query[w + 1]], alone)


def test_temperature_is_clamped():
    torch.manual_seed(0)
    layer, x = Attention(8, 2, similarity="cosine"), torch.randn(1, 5, 8)
    results = []
    for tau in (0.01, -3.0, 1.0):
        with torch.no_grad():
            layer.tau.fill_(tau)
        results.append(layer(x))
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[0], results[2])


def test_windows_empty_in_one_frame_pass_norms_and_mlp_alone():
    torch.manual_seed(0)
    cross = WindowCrossAttention(8, 2, 4, "key")
    now, before = sparse(random_cells(0, 200)), sparse(random_cells(1, 60, high=8), seed=1)
    out = cross.attend(now, before)
    expected = now.features
    for block in cross.blocks:
        normed = block.norm1(expected)
        expected = block.norm2(normed + block.mlp(normed))
    far = (now.coordinates[:, 1:] >= 12).any(dim=1)  # more than a window from every earlier pillar
    assert 0 < far.sum() < len(far)
    torch.testing.assert_close(out[far], expected[far])
    assert not torch.isclose(out, expected).all(dim=1)[(now.coordinates[:, 1:] < 8).all(dim=1)].any()
    empty = SparseTensor(before.features[:0], before.coordinates[:0], before.spatial_shape, before.batch_size)
    torch.testing.assert_close(cross.attend(now, empty), expected)


def test_moving_both_frames_by_a_window_changes_nothing():
    torch.manual_seed(0)
    cross = WindowCrossAttention(8, 2, 4, "key").eval()
    cells = [random_cells(seed, count, high=8) for seed, count in ((0, 90), (1, 50))]
    moved = [rows + torch.tensor([0, 4, 8]) for rows in cells]
    here, there = (cross(sparse(a, seed=1), sparse(b, seed=2)).features for a, b in (cells, moved))
    torch.testing.assert_close(here, there)
    apart = cross(sparse(cells[0], seed=1), sparse(moved[1], seed=2)).features
    assert not torch.allclose(here, apart)


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


def test_attention_of_packed_rows_takes_the_cosine_too():
    torch.manual_seed(0)
    layer, x = Attention(8, 2, similarity="cosine"), torch.randn(7, 8)
    packing = Packing.from_offsets(torch.tensor([0, 3, 7]))
    together = layer(x, packing)
    torch.testing.assert_close(together, torch.cat([layer(part[None])[0] for part in (x[:3], x[3:])]))
    assert attention(*(3 * [x[:0].view(0, 2, 4)]), packing).shape == (0, 2, 4)
    assert isinstance(layer.tau, nn.Parameter)


def test_reconstructions_show_both_frames_of_each_scene(model, batch):
    result = model.reconstruct(**batch, generator=torch.Generator().manual_seed(0)).to("cpu")
    assert result.predicted.shape == (result.mask.num_masked, 4, 3)
    scene = result.scene(1)
    start, stop = batch["previous_offsets"][1:3].tolist()
    assert torch.equal(scene.previous_points, batch["previous_points"][start:stop])
    assert scene.previous_offsets.tolist() == [0, stop - start]
    shift = result.predicted - result.voxels.centers[result.mask.masked].unsqueeze(1)
    assert shift.abs().max() < 10  # metres from the centre of the pillar
