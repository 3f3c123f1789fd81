"""MAE, MAE-ST and VideoMAE: the properties of their specifications, and equality with their restatements."""

import pytest
import torch
from torch import nn

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError, DataError
from mae3d.models.methods import MAE, MAEST, VideoMAE, mae_base, mae_st_test, mae_test, videomae_base, videomae_test
from mae3d.models.tokenizers import unpatchify
from mae3d.structures import Mask
from tests.oracles import vision as oracle
from tests.oracles import vision_states as states

HEADS, DECODER_HEADS = 2, 3
SIZE = {"embed_dim": 32, "depth": 3, "num_heads": HEADS, "decoder_dim": 24, "decoder_depth": 2, "decoder_num_heads": 3}
TUBELET = (2, 4, 4)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def images(seed=0):
    return draw(3, 3, 32, 32, seed=seed)


def clips(seed=0):
    return draw(3, 3, 16, 16, 16, seed=seed)


def assert_equal_to(value, expected, relative=1e-5):
    """Largest difference over largest magnitude."""
    assert value.shape == expected.shape
    assert ((value - expected).abs().max() / expected.abs().max()).item() < relative


def noise_mask(noise, keep):
    order = noise.argsort(dim=1)
    return Mask.from_order(order, noise.shape[1] - keep)


def official_mae():
    state = states.mae_state(32, 3, 24, 2, patch=8, count=16)
    model = MAE(image_size=32, patch_size=8, **SIZE).eval()
    model.load_state_dict(convert("mae", state).state)
    return model, state


def official_mae_st(frames=8):
    state = states.mae_st_state(32, 3, 24, 2, TUBELET, (8, 16))
    model = MAEST(clip_size=(16, 16, 16), tubelet=TUBELET, predicted_frames=frames, **SIZE).eval()
    model.load_state_dict(convert("mae-st", state).state)
    return model, state


def official_videomae():
    state = states.videomae_state(32, 3, 24, 2, TUBELET)
    model = VideoMAE(clip_size=(16, 16, 16), tubelet=TUBELET, **SIZE).eval()
    model.load_state_dict(convert("videomae", state).state)
    return model, state


def tube(seed=0, batch=3):
    places = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(seed + b)) for b in range(batch)])
    return (places < 14).repeat(1, 8)


# Equality with the restated official forwards


@pytest.mark.parametrize("norm_pix", [True, False])
def test_mae_equals_the_restatement(norm_pix):
    model, state = official_mae()
    model.target.normalize = "joint" if norm_pix else "none"
    noise = torch.rand(3, 16, generator=torch.Generator().manual_seed(1))
    loss, prediction, removed, latents = oracle.mae(images(), noise, 4, state, HEADS, DECODER_HEADS, norm_pix)
    mask = noise_mask(noise, 4)
    assert torch.equal(mask.to_bool(), removed.bool())
    result = model.predict_masked(images(), mask)
    assert_equal_to(result.prediction, mask.gather_masked(prediction))
    target = oracle.mae_target(images(), 8, norm_pix)
    torch.testing.assert_close(result.target, mask.gather_masked(target), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.compute_loss(images(), mask)["loss"], loss, rtol=1e-5, atol=0)
    raster = noise.argsort(1)[:, :4].argsort(1)  # the official latents are in shuffled order
    ours = model.encode(model.tokenizer(images()), mask)
    assert_equal_to(ours, torch.cat((latents[:, :1], oracle.take(latents[:, 1:], raster)), 1))


def test_mae_gradients_equal_the_restatement():
    model, state = official_mae()
    noise = torch.rand(3, 16, generator=torch.Generator().manual_seed(1))
    leaves = {name: value.clone().requires_grad_() for name, value in state.items()}
    oracle.mae(images(), noise, 4, leaves, HEADS, DECODER_HEADS)[0].backward()
    model.compute_loss(images(), noise_mask(noise, 4))["loss"].backward()
    expected = convert("mae", {name: value.grad for name, value in leaves.items()}).state
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6, msg=name)


def test_mae_st_equals_the_restatement():
    model, state = official_mae_st()
    noise = torch.rand(3, 128, generator=torch.Generator().manual_seed(1))
    loss, prediction, removed, latents = oracle.mae_st(clips(), noise, 12, state, HEADS, DECODER_HEADS, 8)
    mask = noise_mask(noise, 12)
    assert torch.equal(mask.to_bool(), removed.bool())
    result = model.predict_masked(clips(), mask)
    assert_equal_to(result.prediction, mask.gather_masked(prediction))
    target = oracle.mae_st_target(clips(), 4, 8)
    torch.testing.assert_close(result.target, mask.gather_masked(target), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.compute_loss(clips(), mask)["loss"], loss, rtol=1e-5, atol=0)
    ours = model.encode(model.tokenizer(clips()), mask)[:, 1:]
    assert_equal_to(ours, oracle.take(latents, noise.argsort(1)[:, :12].argsort(1)))


def test_videomae_equals_the_restatement():
    model, state = official_videomae()
    hidden = tube()
    loss, prediction, latents = oracle.videomae(clips(), hidden, state, HEADS, DECODER_HEADS)
    mask = Mask.from_bool(hidden)
    result = model.predict_masked(clips(), mask)
    assert_equal_to(result.prediction, prediction)
    torch.testing.assert_close(result.target, oracle.videomae_target(clips(), TUBELET, hidden), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.compute_loss(clips(), mask)["loss"], loss, rtol=1e-5, atol=0)
    assert_equal_to(model.encode(model.tokenizer(clips()), mask), latents)


def test_published_sizes():
    with torch.device("meta"):
        model, video = mae_base(), videomae_base()
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert round(learned / 1e6, 2) == 111.66
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 1) == 111.9
    assert sum(p.numel() for p in video.parameters()) == 94_210_944
    assert not [name for name in video.state_dict() if "pos" in name]
    assert len(video.state_dict()) == 218


def test_masks_have_the_published_counts():
    with torch.device("meta"):
        image, clip = torch.empty(1, 3, 224, 224), torch.empty(1, 3, 16, 224, 224)
        counts = {
            kind: model.masking.masked_tokens(model.tokenizer(values))
            for kind, model, values in (
                ("mae", mae_base(), image),
                ("mae_st", MAEST(), clip),
                ("videomae", videomae_base(), clip),
                ("ucf", VideoMAE(mask_ratio=0.75), clip),
            )
        }
    assert counts == {"mae": 147, "mae_st": 1412, "videomae": 1408, "ucf": 8 * 147}


# Properties of the specifications


def test_only_hidden_pixels_make_the_target_and_hidden_pixels_reach_no_latent():
    for model, values in ((mae_test().eval(), images()), (videomae_test().eval(), clips()[:, :, :8])):
        tokens = model.tokenizer(values)
        mask = model.masking(tokens, torch.Generator().manual_seed(0))
        hidden = mask.to_bool()
        seen = _with_noise(model, values, ~hidden)
        unseen = _with_noise(model, values, hidden)
        latents = model.encode(tokens, mask)
        assert torch.equal(model.target(model.tokenizer(seen), mask), model.target(tokens, mask))
        assert not torch.equal(model.encode(model.tokenizer(seen), mask), latents)
        assert torch.equal(model.encode(model.tokenizer(unseen), mask), latents)
        assert not torch.equal(model.target(model.tokenizer(unseen), mask), model.target(tokens, mask))


def _with_noise(model, values, where):
    """Pixels of the patches ``where`` [B, N] replaced."""
    content, grid = model.tokenizer(values).content, model.tokenizer(values).grid
    changed = torch.where(where[..., None], draw(*content.shape, seed=9), content)
    return unpatchify(changed, grid, model.tokenizer.patch_size)


def test_samples_are_independent():
    model = mae_test().eval()
    mask = model.masking(model.tokenizer(images()), torch.Generator().manual_seed(0))
    flipped = Mask(mask.visible.flip(0), mask.masked.flip(0))
    there, here = model.predict_masked(images().flip(0), flipped), model.predict_masked(images(), mask)
    torch.testing.assert_close(there.prediction.flip(0), here.prediction)


def test_tables_do_not_learn_and_tokens_do():
    model = mae_test()
    model.compute_loss(images())["loss"].backward()
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    tables = {f"{part}position_embedding.table" for part in ("", "decoder.")}
    assert frozen == tables | {"encoder.class_position", "decoder.class_position"}
    assert model.decoder.mask_token.grad.abs().sum() > 0
    assert model.encoder.class_token.grad.abs().sum() > 0


def test_joint_target_ignores_gain_and_offset_and_zero_has_the_known_loss():
    model = mae_test()
    tokens = model.tokenizer(images())
    mask = model.masking(tokens, torch.Generator().manual_seed(0))
    target = model.target(tokens, mask)
    changed = model.target(model.tokenizer(images() * 3 + 2), mask)
    torch.testing.assert_close(changed, target, rtol=1e-4, atol=1e-4)
    count = target.shape[-1]
    torch.testing.assert_close(
        model.loss(torch.zeros_like(target), target).item(), (count - 1) / count, rtol=1e-4, atol=0
    )


def test_flat_patches():
    """A constant patch has no variance; a patch of one colour has some over all channels, none in each."""
    colour = torch.tensor([0.2, -1.0, 0.7]).view(1, 3, 1, 1, 1).expand(2, 3, 8, 16, 16)
    joint, channel = mae_st_test(), videomae_test()
    for model, flat in ((joint, False), (channel, True)):
        tokens = model.tokenizer(colour)
        target = model.target(tokens, model.masking(tokens))
        assert target.isfinite().all()
        assert (target.abs().max() < 0.2) == flat  # rounding of the mean over 1e-6 is not nothing
    constant = mae_test()
    tokens = constant.tokenizer(torch.ones(2, 3, 32, 32))
    assert torch.equal(constant.target(tokens, constant.masking(tokens)), torch.zeros(2, 12, 192))


def test_mae_st_predicts_these_frames():
    assert MAEST(depth=1, decoder_depth=1).target.frames.tolist() == [[0]] * 7 + [[1]]  # 0, 2, ..., 12, 15
    every = mae_st_test(predicted_frames=8)
    assert every.target.dim == 2 * 4 * 4 * 3
    assert every.target.frames.tolist() == [[0, 1]] * 4
    with pytest.raises(ConfigError, match="multiple of the 4 time slots"):
        mae_st_test(predicted_frames=3)


def test_decoders_do_not_see_what_they_drop():
    model = mae_st_test().eval()
    tokens = model.tokenizer(clips()[:, :, :8])
    mask = model.masking(tokens, torch.Generator().manual_seed(0))
    latents = model.encode(tokens, mask)
    other = latents.clone()
    other[:, 0] += 1
    before = model.decoder(latents, tokens.coordinates, mask)
    assert torch.equal(model.decoder(other, tokens.coordinates, mask), before)
    with torch.no_grad():
        model.decoder.class_token.add_(1.0)
    assert not torch.equal(model.decoder(latents, tokens.coordinates, mask), before)


def test_the_key_bias_changes_nothing():
    """Property 7 of VideoMAE: adding one vector to all keys leaves attention as it is."""
    attn = videomae_test().encoder.blocks[0].attn
    full = nn.Linear(32, 96)
    x = draw(2, 5, 32)
    with torch.no_grad():
        full.weight.copy_(attn.qkv.weight)
        full.bias.copy_(torch.cat((attn.q_bias, draw(32), attn.v_bias)))
    expected = attn(x)
    attn.qkv, attn.q_bias = full, None
    torch.testing.assert_close(attn(x), expected, rtol=1e-4, atol=1e-6)


def test_wrong_input_is_named():
    model = mae_test()
    with pytest.raises(ValueError, match=r"sides that are multiples of \[8, 8\]\], got \[1, 3, 30, 32\]"):
        model(torch.zeros(1, 3, 30, 32))
    with pytest.raises(DataError, match="MAE needs the field 'image' of a batch, got \\['points'\\]"):
        model(points=torch.zeros(1, 4, 3), mode="loss")


def test_pictures_show_patches_with_their_own_brightness():
    """A perfect prediction of normalised pixels must give back the image."""
    for model, values in ((mae_test(), images()), (videomae_test(), clips()[:, :, :8])):
        tokens = model.tokenizer(values)
        mask = model.masking(tokens, torch.Generator().manual_seed(0))
        perfect = model.target.reconstruct(values, model.target(tokens, mask), tokens, mask)
        assert perfect.original.shape == values.shape
        torch.testing.assert_close(perfect.predicted, perfect.original, rtol=0, atol=1e-4)
        grey = (perfect.visible - 0.5).abs().amax(1) < 1e-5
        assert grey.float().mean().item() == pytest.approx(mask.num_masked / mask.num_tokens, abs=0.02)
    frames = mae_st_test().reconstruct(clips()[:, :, :8], generator=torch.Generator().manual_seed(0))
    assert frames.original.shape == (3, 3, 4, 16, 16)
    shown = (clips()[:, :, [0, 2, 4, 7]] * 0.225 + 0.45).clamp(0, 1)
    torch.testing.assert_close(frames.original, shown)


def test_where_the_small_constant_enters():
    """Nearly flat patches tell the two published normalisations apart: inside the root, or added to it."""
    faint = draw(2, 3, 8, 16, 16) * 1e-3
    tokens = videomae_test().tokenizer(faint)
    mask = Mask.from_bool(torch.arange(64).expand(2, -1) % 4 > 0)
    hidden = mask.gather_masked(tokens.content).double().unflatten(-1, (-1, 3))
    raw = hidden * torch.tensor(videomae_test().target.std.tolist()).double()
    channel = (raw - raw.mean(2, True)) / (raw.std(2, keepdim=True) + 1e-6)
    joint = (hidden - hidden.mean((2, 3), True)) / (hidden.var((2, 3), keepdim=True) + 1e-6).sqrt()
    ours = videomae_test().target(tokens, mask)
    torch.testing.assert_close(ours.double(), channel.flatten(2), rtol=0, atol=2e-3)  # float32 of values near 0.45
    every = mae_st_test(predicted_frames=8).target(tokens, mask)
    torch.testing.assert_close(every.double(), joint.flatten(2), rtol=1e-4, atol=1e-4)
    assert (joint.flatten(2) - channel.flatten(2)).abs().max() > 0.1
