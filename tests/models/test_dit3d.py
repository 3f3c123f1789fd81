"""DiT-3D and FastDiT-3D: equality with the plain restatement, and the properties of the specification."""

import pytest
import torch

from mae3d.checkpoints import convert
from mae3d.errors import ConfigError, DataError
from mae3d.models.masking import OccupancyMasking
from mae3d.models.methods import DiT3D, FastDiT3D, dit3d_s, dit3d_test, fastdit3d_s, fastdit3d_test
from mae3d.structures import VoxelMask
from tests.models.dit3d_inputs import clouds, shaken
from tests.oracles import dit3d as oracle

WIDTH, DEPTH, HEADS, PATCH, RESOLUTION, CLASSES = 24, 2, 2, 2, 8, 3
GRID = RESOLUTION // PATCH
DECODER, DECODER_HEADS, WINDOW, WINDOW_BLOCKS = 12, 2, 3, (0,)


def every_token(model, count):
    return VoxelMask.none(count * model.tokenizer.num_tokens)


def test_equal_to_the_restatement():
    state = oracle.official_state(WIDTH, DEPTH, PATCH, GRID, CLASSES)
    model = DiT3D(
        resolution=RESOLUTION, patch_size=PATCH, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, num_classes=CLASSES
    )
    model.load_state_dict(convert("dit3d", {name: value.float() for name, value in state.items()}).state)
    points, times, labels = clouds(), torch.tensor([3, 800]), torch.tensor([1, CLASSES])
    with torch.no_grad():
        ours = model.eval().denoise(points, times, labels)
    for row in range(2):
        expected = oracle.dit3d(points[row].double(), int(times[row]), int(labels[row]), state, RESOLUTION, HEADS)
        torch.testing.assert_close(ours[row], expected.float(), rtol=1e-4, atol=1e-5)


def fast_model(**options):
    return FastDiT3D(
        resolution=RESOLUTION,
        patch_size=PATCH,
        embed_dim=WIDTH,
        depth=DEPTH,
        num_heads=HEADS,
        num_classes=CLASSES,
        num_experts=3,
        decoder_dim=DECODER,
        decoder_depth=2,
        decoder_num_heads=DECODER_HEADS,
        window=WINDOW,
        window_blocks=WINDOW_BLOCKS,
        **options,
    )


def oracle_names(state):
    """Our FastDiT-3D state dict in the restatement's names, float64."""
    renamed = {}
    for name, value in state.items():
        for ours, theirs in (
            ("tokenizer.position", "pos_embed"),
            ("tokenizer.projection", "x_embedder.proj"),
            ("condition.time", "t_embedder.mlp"),
            ("condition.label", "y_embedder.embedding_table"),
            ("encoder.blocks", "blocks"),
            ("decoder.transformer.blocks", "decoder.blocks"),
            ("decoder.embedding", "decoder.embed"),
            ("head.linear", "final_layer.linear"),
            ("head.modulation", "final_layer.adaLN_modulation.1"),
        ):
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
                break
        renamed[
            name.replace("modulation.weight", "adaLN_modulation.1.weight")
            .replace("modulation.bias", "adaLN_modulation.1.bias")
            .replace("adaLN_modulation.1.adaLN_", "adaLN_")
            .replace("adaLN_adaLN_", "adaLN_")
        ] = value.double()
    return renamed


def test_fast_model_equal_to_the_restatement_with_ragged_visible_sets():
    model = shaken(fast_model())
    names = oracle_names(model.state_dict())
    points, times, labels = clouds(), torch.tensor([10, 700]), torch.tensor([0, 2])
    chosen = [[0, 5, 17, 40, 63], [1, 2, 30]]
    rows = torch.tensor([place + sample * GRID**3 for sample, places in enumerate(chosen) for place in places])
    masked = torch.ones(2 * GRID**3, dtype=torch.bool)
    masked[rows] = False
    with torch.no_grad():
        ours = model.denoise(points, times, labels, VoxelMask.from_bool(masked))
    for row in range(2):
        expected = oracle.fastdit3d(
            points[row].double(), int(times[row]), int(labels[row]), names, RESOLUTION, HEADS,
            chosen[row], WINDOW, WINDOW_BLOCKS, DECODER_HEADS,
        )  # fmt: skip
        torch.testing.assert_close(ours[row], expected.float(), rtol=1e-4, atol=1e-5)


def test_published_sizes():
    with torch.device("meta"):
        plain, fast = dit3d_s(), fastdit3d_s()
    table = plain.tokenizer.position.numel()
    assert sum(p.numel() for p in plain.parameters()) + table == 32_807_232  # 32.81 M with the fixed table
    assert (fast.decoder.transformer.depth, fast.decoder.embed_dim) == (4, 384)
    assert [block.windows is not None for block in fast.decoder.transformer.blocks] == [True, False, True, False]
    assert (fast.token_masking.foreground_ratio, fast.token_masking.background_ratio) == (0.95, 0.99)


@pytest.mark.parametrize(("resolution", "patch_size"), [(32, 2), (64, 8), (128, 4)])
def test_resolutions_and_patches(resolution, patch_size):
    with torch.device("meta"):
        model = dit3d_s(resolution=resolution, patch_size=patch_size)
    assert model.tokens_per_sample == (resolution // patch_size) ** 3
    assert model.head.linear.out_features == 3 * patch_size**3


@pytest.mark.parametrize("build", [dit3d_test, fastdit3d_test])
def test_property_1_a_fresh_model_predicts_zero(build):
    torch.manual_seed(0)
    model = build()
    points = clouds(8, 300)
    assert (model(points, "tensor") == 0).all()
    losses = model(points, "loss", label=torch.zeros(8, dtype=torch.int64))
    assert losses.get("loss", losses.get("loss_denoise")).item() == pytest.approx(1.0, abs=0.05)


def test_property_4_nothing_hidden_needs_no_mask_token():
    model = shaken(fast_model(masking=OccupancyMasking(0.0, 0.0)))
    points, times = clouds(), torch.tensor([5, 600])
    mask = model.token_masking(model.tokenizer(points).occupied)
    assert mask.num_masked == 0
    with torch.no_grad():
        dense = model.denoise(points, times)
        torch.testing.assert_close(model.denoise(points, times, mask=mask), dense, rtol=1e-4, atol=1e-5)
        model.decoder.mask_token.fill_(1e3)
        assert torch.equal(model.denoise(points, times), dense)


def test_property_4_the_encoder_does_not_depend_on_the_order_of_tokens():
    model = shaken(fast_model())
    tokens, condition = torch.randn(2, GRID**3, WIDTH), torch.randn(2, WIDTH)
    order = torch.randperm(GRID**3)
    with torch.no_grad():
        straight = model.encoder(tokens, condition).tokens
        torch.testing.assert_close(
            model.encoder(tokens[:, order], condition).tokens, straight[:, order], rtol=1e-4, atol=1e-5
        )


def test_loss_on_visible_points_leaves_out_the_others():
    model = shaken(fast_model(loss_on="visible"))
    points = clouds(1, 60)
    patches = model.tokenizer(points)
    mask = OccupancyMasking(0.5, 0.5)(patches.occupied, torch.Generator().manual_seed(0))
    hidden = mask.to_bool()[patches.owner[0]]
    assert 0 < int(hidden.sum()) < 60
    difference = torch.zeros(1, 60, 3)
    difference[0, hidden] = 7.0
    assert model._error(difference, patches, mask) == 0
    difference[0, ~hidden] = 2.0
    assert model._error(difference, patches, mask).item() == pytest.approx(4.0)


def test_fixed_noise_at_time_zero_belongs_to_the_sample():
    model = dit3d_test(fixed_noise_at_zero=True, diffusion={"steps": 1})  # every time is 0
    points, index = clouds(3), torch.tensor([4, 9, 4])
    first = model.corrupt(points, index=index)
    second = model.corrupt(points, index=index)
    assert torch.equal(first.noise, second.noise)
    assert torch.equal(first.noise[0], first.noise[2])
    assert not torch.equal(first.noise[0], first.noise[1])
    fresh = dit3d_test(diffusion={"steps": 1})
    assert not torch.equal(fresh.corrupt(points).noise, fresh.corrupt(points).noise)
    with pytest.raises(DataError, match="needs the index of each sample"):
        model.corrupt(points)


def test_classes_are_dropped_in_training_alone():
    torch.manual_seed(0)
    model = dit3d_test()
    points, label = torch.randn(2000, 1, 3), torch.ones(2000, dtype=torch.int64)
    dropped = (model.train().corrupt(points, label).label == 4).float().mean().item()
    assert dropped == pytest.approx(0.1, abs=0.02)
    assert (model.eval().corrupt(points, label).label == 1).all()


def test_generation_is_seeded_and_the_class_matters():
    model = shaken(fastdit3d_test())

    def draw(label, seed=0, **options):
        generator = torch.Generator().manual_seed(seed)
        options = {"sampler": "ddim", "steps": 3, **options}
        return model.generate(2, 30, label=torch.tensor([label, label]), generator=generator, **options)

    assert draw(0).shape == (2, 30, 3)
    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(0, seed=1))
    assert not torch.equal(draw(0), draw(1))
    assert not torch.equal(draw(0, guidance=3.0), draw(0))
    assert not model.training
    none = model.generate(2, 30, sampler="ddim", steps=3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(draw(0, guidance=0.0), draw(4, guidance=0.0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(draw(0, guidance=0.0), none, rtol=1e-4, atol=1e-4)


def test_completion_keeps_the_given_points():
    model = shaken(dit3d_test())
    known = clouds(2, 10)
    found = model.generate(2, 30, known=known, sampler="ddim", steps=3)
    assert torch.equal(found[:, :10], known)
    assert found[:, 10:].isfinite().all()


def test_editing_starts_from_the_given_cloud():
    model = dit3d_test()  # predicts no noise: a sample is its start, rescaled
    cloud = clouds(1, 30)
    near = model.generate(1, 30, edit=cloud, strength=0.02, sampler="ddim", steps=2)
    far = model.generate(1, 30, edit=cloud, strength=0.5, sampler="ddim", steps=2)
    assert (near - cloud).abs().mean() < 0.2 < (far - cloud).abs().mean()


def test_generated_clouds_come_in_the_units_of_the_files():
    model = dit3d_test()
    batch = {"points": clouds(2, 16), "label": torch.tensor([0, 1]), "index": torch.arange(2)}
    mean, std = torch.tensor([[1.0, 2.0, 3.0]] * 2), torch.tensor([0.5, 0.5])
    torch.manual_seed(0)
    plain = model(**batch, mode="predict")
    torch.manual_seed(0)
    scaled = model(**batch, mode="predict", mean=mean, std=std)
    for name in ("sample", "reference"):
        torch.testing.assert_close(scaled[1][name], plain[1][name] * 0.5 + mean[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 30, "patch_size": 4}, "resolution must be a multiple of patch_size, got 30 and 4"),
        ({"embed_dim": 40}, "width divisible by 6, got 40"),
        ({"num_classes": -1}, "num_classes must be at least 0"),
        ({"label_dropout": 2.0}, r"dropout must be in \[0, 1\]"),
        ({"masking": {"type": OccupancyMasking, "foreground_ratio": 1.5}}, r"foreground_ratio must be in \[0, 1\]"),
        ({"num_experts": 2, "top_k": 3}, "1 <= top_k <= num_experts"),
        ({"window_blocks": (7,)}, r"window_blocks must be blocks 0 to 1, got \[7\]"),
        ({"loss_on": "hidden"}, 'loss_on must be "all" or "visible"'),
    ],
)
def test_impossible_models(options, message):
    with pytest.raises(ConfigError, match=message):
        fastdit3d_test(**options)


def test_impossible_batches():
    model = fastdit3d_test()
    with pytest.raises(DataError, match="at least one point in each cloud"):
        model(torch.zeros(2, 0, 3), "loss")
    with pytest.raises(DataError, match=r"points must be \[B, P, 3\]"):
        model(torch.zeros(2, 5, 6), "loss")
    with pytest.raises(DataError, match="build the model with num_classes=10"):
        model(clouds(), "loss", label=torch.tensor([0, 9]))
    with pytest.raises(DataError, match="mask must cover 128 tokens"):
        model.compute_loss(clouds(), mask=VoxelMask.none(7))
    with pytest.raises(DataError, match="0 < K < num_points 5"):
        model.generate(2, 5, known=clouds(2, 5))
    with pytest.raises(DataError, match="edit must be"):
        model.generate(2, 5, edit=clouds(2, 6))
    with pytest.raises(ConfigError, match=r"strength must be in \(0, 1\]"):
        model.generate(2, 5, edit=clouds(2, 5), strength=0.0)


def test_one_point_and_coinciding_points_do_not_break():
    model = shaken(fastdit3d_test())
    for points in (torch.randn(1, 1, 3), torch.ones(2, 9, 3)):
        assert model(points, "loss")["loss_denoise"].isfinite()
