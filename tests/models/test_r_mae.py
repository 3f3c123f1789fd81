"""R-MAE against its dense restatement, and the properties of its spec card."""

import copy
import math

import pytest
import torch

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.backbones import VoxelBackBone8x
from mae3d.models.decoders import OccupancyDecoder, decode_sparse
from mae3d.models.methods import RMAE, r_mae, r_mae_residual, r_mae_residual_test, r_mae_test, r_mae_two_stage_test
from mae3d.models.methods.r_mae import SMALL
from mae3d.models.targets import dense_occupancy
from mae3d.structures import SparseTensor, VoxelMask
from tests.oracles import r_mae as oracle

SHAPE = (41, 24, 32)


def clouds(counts=(260, 180), seed=0):
    generator = torch.Generator().manual_seed(seed)
    size = torch.tensor([12.8, 9.6, 3.0])
    points = torch.rand(sum(counts), 3, generator=generator) * size - size / 2
    points = torch.cat((points, torch.rand(sum(counts), 1, generator=generator)), dim=1)
    return points, torch.tensor([0, *counts]).cumsum(0)


@pytest.fixture(scope="module", params=["plain", "residual"])
def official(request):
    return request.param, oracle.official_state(request.param)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("decoding", ["dense", "sparse"])
def test_loss_equals_the_dense_restatement(official, decoding, training):
    kind, state = official
    model = RMAE(**SMALL, encoder=kind, decoding=decoding).train(training)
    model.load_state_dict(convert("r-mae", state).state)
    model.tokenizer.shuffle = False
    points, offsets = clouds()
    low, size = torch.tensor(SMALL["point_range"][:3]), torch.tensor(SMALL["voxel_size"])
    cells, features = oracle.voxelize(points, offsets.tolist(), low, size, (32, 24, 40), 5, 16000)
    visible = (torch.arange(len(cells)) % 3 == 0).nonzero().squeeze(1)
    mask = VoxelMask.from_bool(torch.arange(len(cells)) % 3 != 0)

    result = model.predict_masked(points, mask, offsets=offsets)
    assert torch.equal(result.voxels.coordinates, cells)
    torch.testing.assert_close(result.voxels.features, features)
    loss, logits = oracle.Network(state, training).loss(cells, features, visible, SHAPE, 2)
    torch.testing.assert_close(result.loss.double(), loss, rtol=1e-5, atol=0)
    b, z, y, x = cells.unbind(1)
    torch.testing.assert_close(result.prediction.double(), logits[b, 0, z, y, x], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [(3, 4), (1, 1), (1, 6), (5, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_sparse_decoder_is_the_dense_one(side, training):
    torch.manual_seed(0)
    dense = OccupancyDecoder(8, (6, 4)).double().train(training)
    for norm in (dense.deconv1[1], dense.deconv2[1]):
        torch.nn.init.normal_(norm.bias)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        norm.running_mean.normal_()
    dense = dense.float()
    sparse = copy.deepcopy(dense)
    occupied = (torch.rand(2, 2, *side) < 0.2).nonzero().int()
    features = torch.randn(len(occupied), 8)
    inputs = [features.clone().requires_grad_() for _ in range(2)]

    logits = dense(SparseTensor(inputs[0], occupied, (2, *side), 2))
    field = decode_sparse(sparse, SparseTensor(inputs[1], occupied, (2, *side), 2))
    assert tuple(logits.shape[2:]) == (41, 8 * side[0], 8 * side[1])
    every = torch.ones(2, *logits.shape[2:]).nonzero()
    torch.testing.assert_close(field.at(every), logits.flatten(), rtol=1e-5, atol=1e-5)

    cells = every[torch.rand(len(every)) < 0.02]
    target = dense_occupancy(cells, logits.shape[2:], 2)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
    torch.testing.assert_close(field.loss(cells), loss, rtol=1e-5, atol=0)
    loss.backward()
    field.loss(cells).backward()
    pairs = [*zip(dense.parameters(), sparse.parameters()), inputs]
    for a, b in pairs:
        if a.numel():
            scale = a.grad.abs().max().item()
            torch.testing.assert_close(b.grad, a.grad, rtol=1e-4, atol=2e-5 * scale)
    for a, b in zip(dense.buffers(), sparse.buffers()):
        torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-6)


def test_far_from_every_latent_the_field_is_the_background():
    torch.manual_seed(0)
    decoder = OccupancyDecoder(8, (6, 4)).eval()
    latents = SparseTensor(torch.randn(1, 8), torch.tensor([[0, 1, 2, 3]], dtype=torch.int32), (2, 20, 20), 1)
    field = decode_sparse(decoder, latents)
    cells, logits = field.reached()
    assert 0 < len(cells) < 0.02 * 41 * 160 * 160
    assert torch.equal(logits, field.at(cells))
    far = torch.tensor([[0, 7, 100, 100]])
    assert torch.equal(field.at(far), field.background.at(far)[:, 0])


def test_no_latents_at_all():
    decoder = OccupancyDecoder(8, (6, 4)).train()
    twin = copy.deepcopy(decoder)
    latents = SparseTensor(torch.zeros(0, 8), torch.zeros(0, 4, dtype=torch.int32), (2, 2, 3), 2)
    field = decode_sparse(decoder, latents)
    every = torch.ones(2, 41, 16, 24).nonzero()
    torch.testing.assert_close(field.at(every), twin(latents).flatten())


def test_corner_mode_fills_a_quarter_turn_and_keeps_the_published_count():
    voxels = r_mae_test().tokenizer.eval()(*clouds())
    groups = oracle.corner_sectors(voxels.coordinates)
    assert 0 <= min(groups) <= max(groups) <= 90
    for ratio in (0.5, 0.8, 0.9):
        masking = r_mae(mode="corner_index", mask_ratio=ratio, minimum_visible=0.0).masking
        drawn = masking.draw(voxels, torch.Generator().manual_seed(0))
        kept = {groups[row] for row in drawn.visible.tolist()}
        assert len(kept) == int((1 - ratio) * len(set(groups)))
        assert all((groups[row] in kept) for row in drawn.visible.tolist())
        assert not any(groups[row] in kept for row in drawn.masked.tolist())


@pytest.mark.parametrize(("ratio", "count", "kept"), [(0.8, 90, 17), (0.8, 91, 18), (0.9, 90, 8), (0.9, 91, 9)])
def test_kept_sectors_are_counted_in_float64(ratio, count, kept):
    model = RMAE(mask_ratio=ratio, mode="corner_index", minimum_visible=0.0)
    angle = torch.arange(count).double().add(0.5).clamp(max=90).deg2rad()
    cells = torch.stack((angle * 0, angle * 0, 1200 * angle.cos(), 1200 * angle.sin()), dim=1).round().long()
    assert len(set(oracle.corner_sectors(cells))) == count
    voxels = copy.copy(model.tokenizer.eval()(torch.zeros(0, 4), torch.tensor([0, 0])))
    object.__setattr__(voxels, "coordinates", cells)
    assert model.masking.draw(voxels, torch.Generator().manual_seed(0)).kept_sectors.sum() == kept


def test_sensor_mode_turns_with_the_scene():
    model = r_mae_test(voxel_size=(0.1, 0.1, 0.1), point_range=(-4.0, -4.0, -2.0, 4.0, 4.0, 2.0)).eval()
    points, offsets = clouds((400,))
    points[:, :2] *= 0.6
    turned = points.clone()
    turned[:, 0], turned[:, 1] = -points[:, 1], points[:, 0]  # a quarter turn: cells go to cells
    low, size = (-4.0, -4.0), (0.1, 0.1)
    groups = [oracle.sensor_sectors(model.tokenizer(p, offsets).coordinates, low, size, 10) for p in (points, turned)]
    cells = [model.tokenizer(p, offsets).coordinates for p in (points, turned)]
    assert len(cells[0]) == len(cells[1])
    assert sorted((g + 9) % 36 for g in groups[0]) == sorted(groups[1])
    corner = [sorted(oracle.corner_sectors(c, 10)) for c in cells]
    assert corner[0] != corner[1]


@pytest.mark.parametrize("mode", ["sensor", "corner_index"])
@pytest.mark.parametrize("make", [r_mae_test, r_mae_two_stage_test])
def test_masks_hold_every_voxel_once(make, mode):
    model = make(mode=mode).eval()
    voxels = model.tokenizer(*clouds())
    mask = model.masking(voxels, torch.Generator().manual_seed(1))
    assert torch.equal(torch.cat((mask.visible, mask.masked)).sort().values, torch.arange(len(voxels)))
    again = model.masking(voxels, torch.Generator().manual_seed(1))
    assert torch.equal(mask.visible, again.visible)


def test_second_stage_keeps_more_of_what_is_far():
    model = r_mae_two_stage_test(mask_ratio=0.5, range_bands=(2.0, 4.0), sector_degrees=90.0).eval()
    voxels = model.tokenizer(*clouds((900,)))
    drawn = model.masking.draw(voxels, torch.Generator().manual_seed(0))
    low, size = SMALL["point_range"], SMALL["voxel_size"]
    groups = torch.tensor(oracle.sensor_sectors(voxels.coordinates, low, size, 90))
    distance = voxels.centers[:, :2].norm(dim=1)
    band = (distance > 2).long() + (distance > 4).long()
    visible = torch.zeros(len(voxels), dtype=torch.bool)
    visible[drawn.visible] = True
    assert drawn.kept_sectors.sum() == 2
    for sector in range(4):
        for number, bonus in enumerate((0.0, 0.2, 0.4)):
            own = (groups == sector) & (band == number)
            share = (0.5 + bonus) if drawn.kept_sectors[0, sector] else 0.0
            assert visible[own].sum() == int(share * own.sum().item())


def test_sectors_are_shared_as_published_or_drawn_for_each_cloud():
    points, _ = clouds((200,))
    points, offsets = torch.cat((points, points)), torch.tensor([0, 200, 400])
    for mode, alike in (("corner_index", True), ("sensor", False)):
        model = r_mae_test(mode=mode, minimum_visible=0.0).eval()
        voxels = model.tokenizer(points, offsets)
        mask = model.masking(voxels, torch.Generator().manual_seed(0)).to_bool()
        half = len(voxels) // 2
        assert torch.equal(mask[:half], mask[half:]) == alike


def test_the_published_guard_draws_uniformly():
    model = r_mae_test(mode="corner_index", mask_ratio=0.99).eval()
    voxels = model.tokenizer(*clouds())
    mask = model.masking(voxels, torch.Generator().manual_seed(0))
    assert mask.num_visible == int(0.1 * len(voxels))
    assert r_mae_test(mask_ratio=0.99).masking(voxels).num_visible == 0
    assert r_mae_residual(mode="corner_index", mask_ratio=0.99).masking(voxels).num_visible < int(0.1 * len(voxels))


def test_target_and_loss_at_zero_logits():
    voxels = r_mae_test().tokenizer.eval()(*clouds())
    assert dense_occupancy(voxels.coordinates, SHAPE, 2).sum() == len(voxels)
    for decoding in ("dense", "sparse"):
        model = r_mae_test(decoding=decoding).eval()
        torch.nn.init.zeros_(model.decoder.deconv3[0].weight)
        loss = model(*clouds()[:1], "loss", offsets=clouds()[1])["loss"]
        assert loss.item() == pytest.approx(math.log(2), rel=1e-6)


def test_masked_voxels_get_no_gradient_and_change_no_latent():
    model = r_mae_test().eval()
    points, offsets = clouds()
    voxels = model.tokenizer(points, offsets)
    mask = model.masking(voxels, torch.Generator().manual_seed(0))
    features = voxels.features.clone().requires_grad_()
    latents = model.encode(voxels.replace_features(features), mask)
    decode_sparse(model.decoder, latents).loss(voxels.coordinates).backward()
    assert (features.grad[mask.masked] == 0).all()
    assert (features.grad[mask.visible] != 0).any()

    detector = VoxelBackBone8x(4).eval()
    detector.load_state_dict(model.encoder.state_dict())
    alone = detector(voxels.select(mask.visible))
    assert torch.equal(alone.features, latents.features)
    assert torch.equal(alone.coordinates, latents.coordinates)


def test_shuffle_changes_which_points_count():
    model = r_mae_test(max_points=1, voxel_size=(1.6, 1.2, 0.1), point_range=(-6.4, -4.8, -2, 6.4, 4.8, 2))
    points, offsets = clouds((4000, 10))
    train = [model.tokenizer.train()(points, offsets, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(train[0].features, train[1].features)
    assert not torch.equal(train[0].features, train[2].features)
    assert train[0].offsets.diff().tolist() == model.tokenizer.eval()(points, offsets).offsets.diff().tolist()


def test_reconstruction_predicts_as_many_cells_as_are_hidden():
    model = r_mae_residual_test()
    points, offsets = clouds((300, 0))
    result = model.reconstruct(points, offsets, generator=torch.Generator().manual_seed(0))
    assert model.training
    assert len(result.occupancy) == len(result.voxels) + len(result.mask.empty)
    assert 0 < len(result.mask.empty) <= result.mask.num_masked
    keys = result.voxels.grid.keys
    assert not torch.isin(keys(result.mask.empty), keys(result.voxels.coordinates)).any()
    assert ((result.occupancy >= 0) & (result.occupancy <= 1)).all()
    assert (result.mask.empty[:, 0] == 0).all()


def test_impossible_settings_are_named():
    with pytest.raises(ConfigError, match="40 cells in height and multiples of 8"):
        RMAE(point_range=(0, 0, 0, 10, 8, 4), voxel_size=(0.1, 0.1, 0.1))
    with pytest.raises(ConfigError, match="set two_stage=True"):
        RMAE(range_bands=(3, 5))
    with pytest.raises(ConfigError, match="encoder must be"):
        RMAE(encoder="resnet")
    with pytest.raises(ConfigError, match="mode must be"):
        RMAE(mode="centre")
    with pytest.raises(ConfigError, match="built for points of 4 columns"):
        r_mae_test()(torch.zeros(3, 5), offsets=torch.tensor([0, 3]))
