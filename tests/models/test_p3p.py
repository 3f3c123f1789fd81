"""P3P against its restated official forward, and the properties of its tokenizer, masks and losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError
from mae3d.models.heads import P3PClassifier
from mae3d.models.losses import cell_occupancy_loss, patch_voxel_loss
from mae3d.models.masking import PackedMasking, RandomMasking
from mae3d.models.methods import P3P, p3p_small, p3p_test
from mae3d.models.tokenizers import VoxelPatchTokenizer
from mae3d.structures import Mask, number_cells
from tests.oracles import p3p as oracle

SIDE, CELLS, LENGTH = 4, 56, 40  # patches of 4^3 in 14^3, as in a file of side 4
SIZE = {"cells": CELLS, "side": SIDE, "length": LENGTH}
PUBLISHED = {"padding": "published", "objective": "published", "max_patches": LENGTH}


def clouds(*counts: int, columns: int = 6, seed: int = 0) -> list[Tensor]:
    """Clouds in small balls, so that a few patches hold several voxels and some voxels several points."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for count in counts:
        cloud = torch.randn(count, columns, generator=generator)
        cloud[:, :3] = cloud[:, :3].clamp(-2, 2) * 0.08 + 0.1
        made.append(cloud)
    return made


def pack(made: list[Tensor]) -> tuple[Tensor, Tensor]:
    return torch.cat(made), torch.tensor([0, *map(len, made)]).cumsum(0)


def by_place(voxels: Tensor) -> list[int]:
    """Rows in the order of their x y z."""
    return sorted(range(len(voxels)), key=lambda row: voxels[row, :3].tolist())


def published_model(channels: int = 12, **options) -> tuple[P3P, dict[str, Tensor]]:
    state = oracle.official_state(32, 2, 16, 2, SIDE, channels)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "decoder_dim": 16, "decoder_depth": 2}
    model = P3P(**sizes, decoder_num_heads=4, color=channels == 12, cells=CELLS, patch_size=SIDE, **options)
    model.load_state_dict(convert("p3p", state).state)
    return model.eval(), state


@pytest.mark.parametrize("columns", [3, 6])
def test_pretraining_equals_the_restated_forward(columns: int) -> None:
    model, state = published_model(6 + columns, **PUBLISHED)
    made = clouds(70, 30, 120, columns=columns)
    masked = RandomMasking(0.6, "visible")(
        type("Tokens", (), {"coordinates": torch.zeros(3, LENGTH, 3)}), torch.Generator().manual_seed(0)
    ).to_bool()
    assert int((~masked).sum(1)[0]) == 16
    points, offsets = pack(made)
    mask = Mask.from_bool(masked)
    result = model.predict_masked(points, mask, offsets=offsets)
    losses = model.compute_loss(points, offsets, mask)
    expected = oracle.pretrain(made, masked, state, 2, 4, **SIZE)
    # Ours lists voxels by cloud and cell, the oracle by patch: compare them in the order of their coordinates.
    ours, theirs = by_place(result.target.voxels), by_place(expected["target"])
    torch.testing.assert_close(result.target.voxels[ours], expected["target"][theirs])
    predicted = expected["prediction"][theirs]
    torch.testing.assert_close(result.prediction.voxels[ours], predicted, rtol=1e-4, atol=1e-5)
    logits = (expected["logits"][..., 1] - expected["logits"][..., 0]).flatten(0, 1)
    torch.testing.assert_close(result.prediction.occupancy, logits, rtol=1e-4, atol=1e-5)
    for name in ("loss_voxels", "loss_occupancy"):
        torch.testing.assert_close(losses[name], expected[name], rtol=1e-5, atol=0)


def test_sound_objective_means_over_clouds_channels_and_hidden_tokens() -> None:
    """The same pass, its losses by hand from the restated per-cloud terms."""
    model, state = published_model(**{**PUBLISHED, "objective": "sound"})
    made = clouds(70, 30)
    masked = torch.zeros(2, LENGTH, dtype=torch.bool)
    masked[:, ::2] = True
    points, offsets = pack(made)
    losses = model.compute_loss(points, offsets, Mask.from_bool(masked))
    expected = oracle.pretrain(made, masked, state, 2, 4, **SIZE)
    wanted = expected["chamfer"].mean() + expected["squared"].mean()
    torch.testing.assert_close(losses["loss_voxels"], wanted)
    real = torch.stack([torch.arange(LENGTH) < len(oracle.voxelize(cloud, CELLS, SIDE).patches) for cloud in made])
    logits, labels = expected["logits"][masked & real], expected["labels"][masked & real]
    wanted = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(losses["loss_occupancy"], wanted)


@pytest.mark.parametrize("columns", [3, 6])
def test_classifier_equals_the_restated_forward(columns: int) -> None:
    state = oracle.classifier_state(oracle.official_state(32, 2, 16, 1, SIDE, 6 + columns), 7)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "cells": CELLS, "patch_size": SIDE, "max_patches": LENGTH}
    model = P3PClassifier(7, **sizes, color=columns == 6, padding="published")
    model.load_state_dict(convert("p3p", state).state)
    made = clouds(60, 1, 90, columns=columns)
    points, offsets = pack(made)
    expected = oracle.classify(made, state, 2, **SIZE)
    torch.testing.assert_close(model.eval()(points, offsets=offsets), expected, rtol=1e-4, atol=1e-5)


def test_packed_equals_padded_where_no_padding_is() -> None:
    """With exactly as many patches as the padded length, both layouts are one computation."""
    made = clouds(70)
    length = len(oracle.voxelize(made[0], CELLS, SIDE).patches)
    padded, _ = published_model(padding="published", max_patches=length)
    packed, _ = published_model(padding="none")
    points, offsets = pack(made)
    tokens = packed.tokenizer(points, offsets)
    mask = packed.masking(tokens, torch.Generator().manual_seed(1))
    first = packed.compute_loss(points, offsets, mask)
    second = padded.compute_loss(points, offsets, Mask.from_bool(mask.to_bool()[None]))
    for name, loss in first.items():
        torch.testing.assert_close(loss, second[name])
    torch.testing.assert_close(packed.extract_features(points, offsets), padded.extract_features(points, offsets))


def test_padded_encoder_compiles_without_a_break() -> None:
    torch.compiler.reset()
    model, _ = published_model(**PUBLISHED)
    points, offsets = pack(clouds(70, 30))
    masked = torch.arange(LENGTH).expand(2, -1) % 2 == 0
    expected = model.compute_loss(points, offsets, Mask.from_bool(masked))
    model.encoder.compile(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(model.compute_loss(points, offsets, Mask.from_bool(masked)), expected)


@pytest.mark.parametrize(("padding", "leaks"), [("published", True), ("none", False)])
def test_padding_leaks_into_the_features_only_where_published(padding: str, leaks: bool) -> None:
    points, offsets = pack(clouds(70))
    models = [published_model(padding=padding, max_patches=length)[0] for length in (64, 96)]
    first, second = (model.extract_features(points, offsets) for model in models)
    assert torch.allclose(first, second) != leaks


def test_clouds_of_a_packed_batch_do_not_see_each_other() -> None:
    model, _ = published_model()
    made = clouds(70, 30, 120)
    together = model.extract_features(*pack(made))
    alone = torch.cat([model.extract_features(*pack([cloud])) for cloud in made])
    torch.testing.assert_close(together, alone)


# Card properties 1 to 8.
def tokenizer(**options) -> VoxelPatchTokenizer:
    torch.manual_seed(0)
    return VoxelPatchTokenizer(16, **{"cells": 64, "patch_size": 16, **options})


def test_1_order_of_points_does_not_matter_and_place_picks_the_weights() -> None:
    make = tokenizer()
    points, offsets = pack(clouds(400))
    tokens = make(points, offsets)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    assert torch.equal(make(points[order], offsets).features, tokens.features)
    twice = make(torch.cat((points, points)), offsets * 2)
    assert torch.equal(twice.features, tokens.features)  # the maximum over equal points
    one = torch.full((1, 6), -0.99)
    moved = one.clone()
    moved[0, 2] += 2 / 64
    first, second = (make(p, torch.tensor([0, 1])) for p in (one, moved))
    assert torch.equal(first.coordinates, second.coordinates)
    assert first.cells.tolist() == [[0, 0, 0]]
    assert second.cells.tolist() == [[0, 0, 1]]
    torch.testing.assert_close(second.features, second.voxels @ make.weight[256])


def test_2_token_of_a_lone_voxel_is_its_feature_times_its_matrix() -> None:
    make = tokenizer()
    point = torch.tensor([[0.3, -0.2, 0.7, 1.0, 2.0, -3.0]])
    tokens = make(point, torch.tensor([0, 1]))
    cell = ((point[0, :3] + 1) / 2 * 64).long()
    a, b, c = (cell % 16).tolist()
    feature = torch.cat((point[0], torch.zeros(3), point[0, :3]))
    torch.testing.assert_close(tokens.features[0], feature @ make.weight[a + 16 * b + 256 * c])
    torch.testing.assert_close(tokens.coordinates[0], (cell // 16) / 4)


def test_3_numbers_of_all_cells() -> None:
    cells = torch.cartesian_prod(*[torch.arange(16)] * 3)
    little, big = number_cells(cells, 16, "little"), number_cells(cells, 16, "big")
    assert little.tolist() == [a + 16 * b + 256 * c for a, b, c in cells.tolist()]
    assert big.tolist() == [256 * a + 16 * b + c for a, b, c in cells.tolist()]
    assert little.sort().values.tolist() == big.sort().values.tolist() == list(range(4096))


def test_4_shift_by_one_patch_keeps_places() -> None:
    make = tokenizer()
    points, offsets = pack(clouds(300))
    points[:, :3] = (points[:, :3] * 32).round() / 32 + 1 / 128  # exactly representable, also after the shift
    shifted = points.clone()
    shifted[:, 0] -= 0.5  # 16 cells of 64 over [-1, 1]
    first, second = make(points, offsets), make(shifted, offsets)
    assert torch.equal(first.cells, second.cells)
    assert torch.equal(first.token, second.token)
    torch.testing.assert_close(first.coordinates[:, 0] - second.coordinates[:, 0], torch.full((len(first),), 0.25))
    change = first.voxels - second.voxels
    assert sorted(change.abs().amax(0).gt(1e-6).nonzero().flatten().tolist()) == [0, 9]  # x and m_x


def test_5_voxel_loss_equals_a_loop_and_is_zero_for_equal_voxels() -> None:
    generator = torch.Generator().manual_seed(0)
    cloud = torch.tensor([0] * 7 + [2] * 12)
    p, g = torch.randn(19, 12, generator=generator), torch.randn(19, 12, generator=generator)
    chamfer, squared = [], []
    for rows in (slice(0, 7), slice(7, 19)):
        distance = torch.cdist(p[rows, :3].double(), g[rows, :3].double()).square()
        chamfer.append(distance.amin(0).mean() + distance.amin(1).mean())
        squared.append((p[rows, 3:] - g[rows, 3:]).double().square().mean(0))
    sound = (sum(chamfer) + torch.stack(squared).mean(1).sum()) / 2
    published = (9 * 3 * sum(chamfer) / 3 + torch.stack(squared).sum()) / 19
    for form, wanted in ((False, sound), (True, published)):
        torch.testing.assert_close(patch_voxel_loss(p, g, cloud, 3, published=form), wanted.float())
        order = torch.cat((torch.randperm(7), 7 + torch.randperm(12)))
        same = torch.cat((g[order, :3], g[:, 3:]), dim=1)
        assert patch_voxel_loss(same, g, cloud, 3, published=form) == 0


def test_6_occupancy_loss() -> None:
    zeros = torch.zeros(5, 64)
    where = torch.tensor([0, 3, 3]), torch.tensor([1, 2, 63])
    assert cell_occupancy_loss(zeros, *where).item() == pytest.approx(math.log(2))
    logits = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(5, 64).index_put(where, torch.ones(()))
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, label)
    torch.testing.assert_close(cell_occupancy_loss(logits, *where), expected)


@pytest.mark.parametrize("objective", ["sound", "published"])
def test_6_visible_patches_are_asked_for_occupancy_only_where_published(objective: str) -> None:
    model, _ = published_model(**{**PUBLISHED, "objective": objective})
    made = clouds(70)
    points, offsets = pack(made)
    masked = torch.zeros(1, LENGTH, dtype=torch.bool)
    masked[:, ::3] = True
    result = model.predict_masked(points, Mask.from_bool(masked), offsets=offsets)
    real = len(oracle.voxelize(made[0], CELLS, SIDE).patches)
    assert len(result.prediction.occupancy) == (LENGTH if objective == "published" else len(range(0, real, 3)))
    assert bool(masked[0, result.tokens.token[result.hidden]].all())  # voxels of hidden patches alone


def test_7_visible_tokens() -> None:
    masking = RandomMasking(0.6, "visible")
    tokens = type("Tokens", (), {"coordinates": torch.zeros(2, 512, 3)})
    assert masking(tokens).num_visible == 204
    assert p3p_small(padding="published").masking.exact == "visible"


@pytest.mark.parametrize("options", [{}, PUBLISHED])
def test_8_a_cloud_of_one_patch_or_none(options: dict) -> None:
    model, _ = published_model(**options)
    points, offsets = pack([*clouds(1), torch.zeros(0, 6), *clouds(1, seed=3)])
    model.train()
    losses = model.compute_loss(points, offsets)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert model.extract_features(points, offsets).isfinite().all()
    nothing = model.compute_loss(points[:0], torch.tensor([0, 0]))
    assert nothing["loss_voxels"] == 0
    assert nothing["loss_occupancy"].isfinite()


def test_packed_masking_counts() -> None:
    counts = [0, 1, 2, 3, 10, 512]
    offsets = torch.tensor([0, *counts]).cumsum(0)
    tokens = type("Tokens", (), {"offsets": offsets, "cloud": torch.repeat_interleave(torch.tensor(counts))})
    tokens.__len__ = lambda self: int(offsets[-1])
    mask = PackedMasking(0.6)(tokens(), torch.Generator().manual_seed(0))
    visible = torch.searchsorted(mask.visible, offsets).diff()
    assert visible.tolist() == [0, 0, 1, 1, 4, 204]


def test_more_patches_than_tokens() -> None:
    generator = torch.Generator().manual_seed(0)
    made = [torch.rand(4000, 3, generator=generator) * 2 - 1, torch.rand(30, 3, generator=generator) * 0.1]
    points, offsets = pack(made)
    make = tokenizer(color=False, max_patches=20)
    every = tokenizer(color=False, max_patches=None)(points, offsets)
    assert every.offsets.diff().tolist()[0] == 64
    drawn = make(points, offsets, torch.Generator().manual_seed(1))
    assert drawn.offsets.diff().tolist() == [20, every.offsets.diff()[1]]
    known = {tuple(row): feature for row, feature in zip(every.coordinates.tolist(), every.features)}
    for row, feature in zip(drawn.coordinates[:20].tolist(), drawn.features):
        torch.testing.assert_close(feature, known[tuple(row)])
    steps = drawn.coordinates[:20] @ torch.tensor([16.0, 4.0, 1.0])
    assert bool((steps.diff() > 0).all())
    make.eval()
    assert torch.equal(make(points, offsets).features, make(points, offsets).features)


def test_colours_are_optional() -> None:
    make = tokenizer()
    points, offsets = pack(clouds(50))
    grey = torch.cat((points[:, :3], torch.zeros(50, 3)), dim=1)
    assert torch.equal(make(points[:, :3], offsets).features, make(grey, offsets).features)
    plain = tokenizer(color=False)
    assert torch.equal(plain(points, offsets).features, plain(points[:, :3], offsets).features)
    with pytest.raises(ConfigError, match="points have 4 columns"):
        make(points[:, :4], offsets)


def test_dense_clouds_are_taken_too() -> None:
    model = p3p_test().eval()
    dense = torch.rand(2, 50, 6, generator=torch.Generator().manual_seed(0)) * 2 - 1
    packed = model.extract_features(dense.flatten(0, 1), torch.tensor([0, 50, 100]))
    assert torch.equal(model.extract_features(dense), packed)


def test_sizes_and_wrong_options() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in p3p_small().parameters()) == 69_792_128
    with pytest.raises(ConfigError, match="multiple of patch_size"):
        VoxelPatchTokenizer(cells=30)
    with pytest.raises(ConfigError, match="pads to max_patches, which is None"):
        p3p_test(padding="published", max_patches=None)
    with pytest.raises(ConfigError, match='objective must be "sound" or "published"'):
        p3p_test(objective="mean")
    with pytest.raises(ValueError, match="the mask is of"):
        p3p_test().compute_loss(*pack(clouds(50)), mask=PackedMasking()(p3p_test().tokenizer(*pack(clouds(3)))))


def test_linear_probe_trains_the_head_alone() -> None:
    model = P3PClassifier(5, embed_dim=32, depth=1, num_heads=2, cells=16, patch_size=4, freeze=True)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
