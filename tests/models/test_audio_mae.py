"""Audio-MAE: equality with its restatement, and the properties of its specification."""

import math

import pytest
import torch

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError, DataError
from mae3d.models.heads import AudioMAEClassifier, audio_mae_classifier_test
from mae3d.models.layers import GridPositions, ShiftedWindows
from mae3d.models.methods import AudioMAE, audio_mae_base, audio_mae_test
from mae3d.models.methods.audio_mae import position_table
from mae3d.models.targets import PixelTarget
from mae3d.models.tokenizers.patches import grid_coordinates
from mae3d.structures import Mask, Tokens
from tests.oracles import audio_mae as oracle
from tests.oracles import vision

GRID = (12, 8)
SIZE = {"frames": 48, "bins": 32, "patch_size": 4, "embed_dim": 32, "depth": 2, "num_heads": 2}
DECODER = {"decoder_dim": 24, "decoder_depth": 2, "decoder_num_heads": 3}
KEEP = 19


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sounds(batch=2):
    return 0.5 * draw(batch, 1, 48, 32)


def noise(batch=2, count=96, seed=1):
    return torch.rand(batch, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def official(decoder="windows", **options):
    heads = 3 if decoder == "windows" else 0
    state = oracle.audio_mae_state(32, 2, 24, 2, patch=4, count=96, heads=heads)
    state = {name: value.double() for name, value in state.items()}
    model = AudioMAE(**SIZE, **DECODER, decoder=decoder, **options).double().eval()
    model.load_state_dict(convert("audio-mae", state).state)
    return model, state


def mask_of(order):
    return Mask.from_order(order.argsort(dim=1), order.shape[1] - KEEP)


# Equality with the restated official forwards, float64; targets and offsets in windows are float32


@pytest.mark.parametrize("norm_pix", [True, False])
def test_equals_the_restatement(norm_pix):
    model, state = official(norm_pix=norm_pix)
    order = noise()
    loss, prediction, removed = oracle.audio_mae(sounds(), order, KEEP, state, 2, GRID, norm_pix)
    mask = mask_of(order)
    assert torch.equal(mask.to_bool(), removed.bool())
    result = model.predict_masked(sounds(), mask)
    torch.testing.assert_close(result.prediction, mask.gather_masked(prediction), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(model.compute_loss(sounds(), mask)["loss"], loss, rtol=1e-6, atol=0, check_dtype=False)


def test_gradients_equal_the_restatement():
    model, state = official()
    order = noise(1)
    leaves = {name: value.clone().requires_grad_() for name, value in state.items()}
    oracle.audio_mae(sounds(1), order, KEEP, leaves, 2, GRID)[0].backward()
    model.compute_loss(sounds(1), mask_of(order))["loss"].backward()
    expected = convert("audio-mae", {name: value.grad for name, value in leaves.items()}).state
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-5, atol=1e-9, msg=name)


@pytest.mark.parametrize(("window", "shift"), [((4, 4), 0), ((6, 2), 3), ((4, 8), 2)])
def test_other_windows_equal_the_restatement(window, shift):
    model, state = official(window=window, shift=(shift, 0))
    order = noise(1)
    _, prediction, _ = oracle.audio_mae(sounds(1), order, KEEP, state, 2, GRID, True, window, shift)
    mask = mask_of(order)
    ours = model.predict_masked(sounds(1), mask).prediction
    torch.testing.assert_close(ours, mask.gather_masked(prediction), rtol=1e-6, atol=1e-7)


def test_the_global_decoder_equals_the_restatement():
    model, state = official("global")
    order = noise()
    loss, prediction, _, _ = vision.mae(sounds(), order, KEEP, state, 2, 3)
    mask = mask_of(order)
    result = model.predict_masked(sounds(), mask)
    torch.testing.assert_close(result.prediction, mask.gather_masked(prediction), rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(model.compute_loss(sounds(), mask)["loss"], loss, rtol=1e-6, atol=0, check_dtype=False)


def test_the_classifier_equals_the_restatement():
    state = oracle.audio_mae_classifier_state(official()[1], 5)
    state = {name: value.double() for name, value in state.items()}
    model = AudioMAEClassifier(5, **SIZE, time_ratio=0.2, frequency_ratio=0.2).double().eval()
    model.load_state_dict(convert("audio-mae", state).state)
    torch.testing.assert_close(model(sounds()), oracle.audio_mae_classifier(sounds(), state, 2))
    model.train()
    torch.manual_seed(3)
    scores = model(sounds(1))
    torch.manual_seed(3)
    mask = model.training_mask(model.tokenizer(sounds(1)))
    visible = ~mask.to_bool()[0].unflatten(0, GRID)
    kept = visible.any(1).nonzero().flatten().flip(0), visible.any(0).nonzero().flatten().roll(1)
    assert [len(axis) for axis in kept] == [9, 6]
    torch.testing.assert_close(scores, oracle.audio_mae_classifier(sounds(1), state, 2, kept))


def test_hidden_cells_do_not_reach_the_latents():
    model, _ = official()
    mask = mask_of(noise())
    changed = model.tokenizer(sounds())
    content = mask.restore(mask.gather_visible(changed.content), 99 + mask.gather_masked(changed.content))
    other = Tokens(content, changed.coordinates, content, grid=changed.grid)
    assert torch.equal(model.encode(changed, mask), model.encode(other, mask))


# Positions


def test_published_positions():
    table = position_table(32, (64, 8), "published").table[0]
    for index in (0, 1, 63, 64, 200, 511):
        torch.testing.assert_close(table[index].double(), oracle.published_position(index, 32, 64), rtol=0, atol=2e-6)
    assert len(table.unique(dim=0)) == 512
    true = position_table(32, (64, 8), "grid").table[0]
    for step, band in ((0, 1), (3, 5), (63, 7)):
        expected = oracle.published_position(band + 100 * step, 32, 100)
        torch.testing.assert_close(true[step * 8 + band].double(), expected, rtol=0, atol=2e-6)
    with pytest.raises(ConfigError, match='positions must be "published" or "grid"'):
        position_table(32, (64, 8), "sound")


@pytest.mark.parametrize("positions", ["published", "grid"])
def test_a_shorter_sound_has_the_positions_of_the_start_of_a_longer_one(positions):
    long, short = (position_table(16, (steps, 8), positions) for steps in (64, 32))
    cells = grid_coordinates((32, 8))
    short.table.data = short.fit(long.table)
    assert torch.equal(short(cells), long(cells))
    with pytest.raises(ConfigError, match="256 positions is too short"):
        long.fit(short.table)
    with pytest.raises(ConfigError, match="fewer cells than the grid"):
        GridPositions(16, (8, 8), raster=(4, 8))


# Windows


def influence(model, source):
    """Tokens whose decoded features change with those of token ``source``."""
    transformer = model.decoder.transformer
    tokens, positions = draw(1, 96, 24), torch.zeros(1, 96, 24, dtype=torch.float64)
    other = tokens.clone()
    other[0, source] += 1
    changed = (transformer.encode(tokens, positions) - transformer.encode(other, positions)).abs().amax(-1)[0] > 1e-12
    return {(int(i) // 8, int(i) % 8) for i in changed.nonzero().flatten()}


def test_one_block_mixes_only_within_windows_and_shifts_only_along_time():
    model, _ = official()
    blocks = model.decoder.transformer.blocks
    model.decoder.transformer.blocks = blocks[:1]
    assert influence(model, 5 * 8 + 2) == {(t, f) for t in range(4, 8) for f in range(4)}
    model.decoder.transformer.blocks = blocks[1:2]
    assert influence(model, 5 * 8 + 2) == {(t, f) for t in range(2, 6) for f in range(4)}
    assert influence(model, 0) == {(t, f) for t in range(2) for f in range(4)}  # the seam's -100 is a wall
    model.decoder.transformer.blocks = blocks
    assert {f for _, f in influence(model, 5 * 8 + 2)} == set(range(4))


def test_windows_partition_the_grid():
    for grid, window, shift in (((12, 8), (4, 4), (2, 1)), ((4, 6), (4, 3), (2, 2)), ((2, 2), (4, 4), (2, 0))):
        windows = ShiftedWindows(grid, window, shift)
        x = draw(2, math.prod(grid), 3)
        assert torch.equal(windows(lambda rows: rows, x), x)
        assert windows.order.sort().values.tolist() == list(range(math.prod(grid)))
    assert ShiftedWindows((4, 8), (4, 4), (2, 0)).penalty is None  # one window along time: nothing to shift
    with pytest.raises(ConfigError, match="no multiple of windows"):
        ShiftedWindows((10, 8), (4, 4))
    with pytest.raises(ConfigError, match="shift"):
        ShiftedWindows((12, 8), (4, 4), (4, 0))


def test_the_seam_is_penalised_in_both_directions():
    penalty = ShiftedWindows((4, 4), (2, 2), (1, 1)).penalty[:, 0]
    assert [int((part != 0).sum()) for part in penalty] == [0, 8, 8, 12]
    assert penalty.unique().tolist() == [-100, 0]


def test_temperatures_are_clamped():
    model, _ = official()
    mask = mask_of(noise())
    results = []
    for value in (0.0, 0.01, 0.5):
        for block in model.decoder.transformer.blocks:
            block.attn.tau.data.fill_(value)
        results.append(model.predict_masked(sounds(), mask).prediction)
    assert torch.equal(results[0], results[1])
    assert not torch.allclose(results[1], results[2])


def test_training_is_random_beyond_the_mask():
    model, _ = official()
    mask = mask_of(noise())
    first, second = (model.predict_masked(sounds(), mask).prediction for _ in range(2))
    assert torch.equal(first, second)
    model.train()
    first, second = (model.predict_masked(sounds(), mask).prediction for _ in range(2))
    assert not torch.allclose(first, second)
    bias = model.decoder.transformer.blocks[0].attn.meta_mlp
    assert not torch.allclose(*bias()[:, [0, 1], [1, 2]].T)  # the same offset, evaluated twice
    assert torch.allclose(*bias.eval()()[:, [0, 1], [1, 2]].T)


# The rest


def test_published_size():
    with torch.device("meta"):
        model = audio_mae_base()
        tuned = AudioMAEClassifier()
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == 136_992_768 - 512  # officially with the decoder's row of the class token
    assert model.target.dim == 256
    windows = [block.attn.windows for block in model.decoder.transformer.blocks]
    assert [part.shift for part in windows] == [(0, 0), (2, 0)] * 8
    assert {part.size for part in windows} == {(4, 4)}
    counts = [sum(p.numel() for p in tuned.parameters() if p.requires_grad or frozen) for frozen in (False, True)]
    assert counts == [85_659_407, 86_053_391]


def test_several_labels():
    model = audio_mae_classifier_test().eval()
    inputs, target = sounds().float()[:, :, :, :], torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 0.25, 0, 1]])
    inputs = torch.cat((inputs, inputs[:, :, :16]), dim=2)
    scores = model(inputs)
    expected = -(target * scores.sigmoid().log() + (1 - target) * (-scores).sigmoid().log()).mean()
    torch.testing.assert_close(model(inputs, mode="loss", target=target)["loss"], expected)
    by_label = model(inputs, mode="loss", label=torch.tensor([3, 1]))["loss"]
    one_hot = torch.eye(5)[[3, 1]]
    torch.testing.assert_close(by_label, model(inputs, mode="loss", target=one_hot)["loss"])
    rows = model(inputs, mode="predict", target=target)
    assert [set(row) for row in rows] == [{"scores", "target"}] * 2
    views = model.predict(torch.stack((inputs, inputs.flip(2)), dim=1), target=target)
    mean = (scores.sigmoid() + model(inputs.flip(2)).sigmoid()) / 2
    torch.testing.assert_close(torch.stack([row["scores"] for row in views]), mean)
    with pytest.raises(DataError, match="label"):
        model(inputs, mode="loss")


def test_pictures_stand_upright():
    model = audio_mae_test().eval()
    inputs = torch.full((1, 1, 64, 32), -0.5)
    inputs[:, :, 16:20] = 1.0  # a click
    inputs[:, :, :, 2] = 0.75  # a hum
    result = model.reconstruct(inputs, generator=torch.Generator().manual_seed(0))
    assert result.original.shape == result.predicted.shape == (1, 1, 32, 64)
    assert (result.original[0, 0, :29, 16:20] - 0.9).abs().max() < 1e-6
    assert (result.original[0, 0, 29, :16] - 0.8).abs().max() < 1e-6
    hidden = result.visible[0, 0].unfold(0, 4, 4).unfold(1, 4, 4).flatten(2)
    assert int((hidden == 0.5).all(-1).sum()) == 128 - 25


def test_wrong_options_are_named():
    for wrong, message in (
        ({"decoder": "mvit"}, 'decoder must be "windows" or "global"'),
        ({"masking": "blocks"}, "blocks"),
        ({"frames": 50}, "multiples of the patch of 4, got 50"),
        ({"window": (5, 4)}, "no multiple of windows"),
    ):
        with pytest.raises(ConfigError, match=message):
            audio_mae_test(**wrong)
    with pytest.raises(ConfigError, match="not for multi_label=True"):
        audio_mae_classifier_test(label_smoothing=0.1)
    with pytest.raises(ConfigError, match="mean of 1 channels, got"):
        PixelTarget((4, 4), 1)  # three numbers, those of photographs
