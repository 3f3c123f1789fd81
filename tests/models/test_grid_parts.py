"""Parts of models on regular grids: patches, position tables, tubes and blocks, decoders, attentive pooling."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.decoders import AppendDecoder, InPlaceDecoder
from mae3d.models.layers import AttentivePool, GridPositions, SeparablePositions, sincos_table, sinusoid_table
from mae3d.models.masking import BlockwiseMasking, RandomMasking, SharedMasking
from mae3d.models.tokenizers import PatchTokenizer, grid_coordinates, patchify, unpatchify
from mae3d.structures import Tokens


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(batch=2, grid=(4, 5)):
    coordinates = grid_coordinates(grid).expand(batch, -1, -1)
    return Tokens(coordinates, coordinates, coordinates, grid=grid)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("sizes", "patch"), [((6, 8), (3, 2)), ((4, 6, 8), (2, 3, 4)), ((64,) * 2, (16, 16))])
def test_patches_there_and_back(sizes, patch):
    values = draw(2, 3, *sizes)
    cut = patchify(values, patch)
    grid = [size // side for size, side in zip(sizes, patch)]
    assert torch.equal(unpatchify(cut, grid, patch), values)
    last = tuple(slice(size - side, size) for size, side in zip(sizes, patch))
    assert torch.equal(cut[1, -1].view(*patch, 3), values[(1, slice(None), *last)].movedim(0, -1))


CUTS = [(4, 3, (8, 12)), ((2, 4, 4), 3, (4, 8, 8)), ((16, 16), 1, (32, 16))]


@pytest.mark.parametrize(("patch", "channels", "sizes"), CUTS)
def test_embedding_equals_the_convolution(patch, channels, sizes):
    torch.manual_seed(0)
    tokenizer = PatchTokenizer(patch, 24, channels)
    values = draw(2, channels, *sizes)
    cut = tokenizer(values)
    expected = tokenizer.projection(values).flatten(2).transpose(1, 2)
    torch.testing.assert_close(tokenizer.embed(cut.features), expected, rtol=1e-5, atol=1e-5)
    assert cut.features is cut.content
    assert math.prod(cut.grid) == expected.shape[1]
    assert torch.equal(cut.coordinates[0, -1], torch.tensor(cut.grid) - 1.0)


def test_sincos_table_is_that_of_mae():
    """Restated with numpy in float64: the first half of the channels tells the column."""
    rows, columns, width = 3, 5, 16
    omega = 1.0 / 10000 ** (np.arange(width // 4, dtype=np.float64) / (width / 4.0))
    expected = np.zeros((rows * columns, width))
    for row in range(rows):
        for column in range(columns):
            halves = [np.concatenate([np.sin(place * omega), np.cos(place * omega)]) for place in (column, row)]
            expected[row * columns + column] = np.concatenate(halves)
    torch.testing.assert_close(sincos_table((rows, columns), width), torch.from_numpy(expected).float(), rtol=0, atol=0)
    table = sincos_table((rows, columns), width).view(rows, columns, width)
    assert torch.equal(table[0, :, :8], table[2, :, :8])  # constant down a column
    assert sincos_table((2, 2, 2), 12).unique(dim=0).shape == (8, 12)
    with pytest.raises(ConfigError, match="divisible by 4"):
        sincos_table((2, 2), 6)


def test_sinusoid_at_the_last_index():
    """Property 8 of VideoMAE."""
    table = sinusoid_table(1568, 384)
    angles = [1567 / 10000 ** (2 * (channel // 2) / 384) for channel in range(384)]
    expected = [math.sin(angle) if channel % 2 == 0 else math.cos(angle) for channel, angle in enumerate(angles)]
    torch.testing.assert_close(table[1567], torch.tensor(expected), rtol=0, atol=1e-6)


def test_positions_follow_coordinates():
    positions = GridPositions(8, (4, 5), "learned")
    chosen = tokens().coordinates[:, [7, 0, 19]]
    assert torch.equal(positions(chosen), positions.table[:, [7, 0, 19]].expand(2, -1, -1))
    assert {name for name, _ in positions.named_parameters()} == {"table"}
    assert not GridPositions(8, (4, 5)).table.requires_grad
    assert not GridPositions(8, (4, 5), "sinusoid", stored=False).state_dict()
    with pytest.raises(ConfigError, match="table must be"):
        GridPositions(8, (4, 5), "rotary")


def test_separable_positions():
    positions = SeparablePositions(8, (3, 2, 2))
    every = positions(grid_coordinates((3, 2, 2))).view(3, 4, 8)
    difference = every[0] - every[2]
    torch.testing.assert_close(difference, difference[:1].expand(4, -1))
    torch.testing.assert_close(every[1, 3], positions.temporal[0, 1] + positions.spatial[0, 3])


def test_tables_are_resized_like_images():
    positions = GridPositions(8, (6, 6))
    stored = draw(1, 16, 8)
    image = stored.view(1, 4, 4, 8).permute(0, 3, 1, 2)
    expected = F.interpolate(image, size=(6, 6), mode="bicubic", align_corners=False)
    torch.testing.assert_close(positions.fit(stored), expected.permute(0, 2, 3, 1).flatten(1, 2))
    with pytest.raises(ConfigError, match="12 positions cannot be resized"):
        positions.fit(draw(1, 12, 8))


# Maskings


def test_tubes_hide_the_same_places_in_every_slot():
    given = tokens(6, (8, 14, 14))
    mask = SharedMasking(0.9)(given, seeded())
    hidden = mask.to_bool().view(6, 8, 196)
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    assert hidden.sum(2).unique().tolist() == [176]
    assert not torch.equal(hidden[0], hidden[1])
    slots = SharedMasking(0.75, (1, 2))(given, seeded()).to_bool().view(6, 8, 196)
    assert slots.all(2).sum(1).tolist() == [6] * 6
    assert (slots.all(2) == slots.any(2)).all()
    with pytest.raises(ValueError, match="needs tokens on a regular grid"):
        SharedMasking()(Tokens(draw(1, 4, 2), draw(1, 4, 2), draw(1, 4, 2)))


def test_every_place_of_a_tube_is_hidden_equally_often():
    share = SharedMasking(0.5)(tokens(20000, (1, 2, 3)), seeded()).to_bool().double().mean(0)
    assert (share - 0.5).abs().max() < 0.015


@pytest.mark.parametrize("ratio", [0.1, 0.4, 0.75])
def test_blocks_hide_exactly_so_many_and_lie_together(ratio):
    given = tokens(40, (14, 14))
    blocks, single = BlockwiseMasking(ratio), RandomMasking(ratio)
    mask = blocks(given, seeded())
    assert mask.num_masked == int(196 * ratio) == blocks.masked_tokens(given)
    assert torch.equal(mask.masked, blocks(given, seeded()).masked)
    assert not torch.equal(mask.masked, blocks(given, seeded(1)).masked)

    def neighbours(drawn):
        hidden = drawn.to_bool().view(40, 14, 14)
        return (hidden[:, 1:] & hidden[:, :-1]).double().mean().item()

    assert neighbours(mask) > 1.1 * neighbours(single(given, seeded()))


# Decoders


def decoder(kind, **options):
    torch.manual_seed(0)
    return kind(16, 2, 2, position_embedding=GridPositions(16, (4, 5)), input_dim=24, **options).eval()


@pytest.mark.parametrize("use", ["drop", "keep", "own"])
def test_order_does_not_matter_to_a_plain_transformer(use):
    given = tokens(3)
    mask = RandomMasking(0.6)(given, seeded())
    latents = draw(3, 1 + mask.num_visible, 24)
    append = decoder(AppendDecoder, class_token=use, class_position=True)
    in_place = decoder(InPlaceDecoder, class_token=use, class_position=True)
    expected = append(latents, given.coordinates, mask)
    torch.testing.assert_close(in_place(latents, given.coordinates, mask), expected, rtol=1e-4, atol=1e-5)
    queries = torch.stack([torch.randperm(20, generator=seeded(b))[:4] for b in range(3)])
    some = in_place(latents, given.coordinates, mask, queries)
    assert some.shape == (3, 4, 16)
    assert append(latents, given.coordinates, mask, queries).shape == (3, 4, 16)
    again = append(latents, given.coordinates, mask, mask.masked.flip(1))
    torch.testing.assert_close(again.flip(1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("use", "seen"), [("drop", False), ("keep", True), ("own", False)])
def test_what_becomes_of_the_class_latent(use, seen):
    given = tokens(2)
    mask = RandomMasking(0.6)(given, seeded())
    latents = draw(2, 1 + mask.num_visible, 24)
    changed = latents.clone()
    changed[:, 0] += 1
    model = decoder(AppendDecoder, class_token=use)
    results = [model(values, given.coordinates, mask) for values in (latents, changed)]
    assert torch.equal(*results) != seen
    assert model.decode(latents, given.coordinates, mask).shape[1] == 20 + (use != "drop")


class Running(nn.Module):
    """A transformer that sees the order: every token adds up those before it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.Identity()

    def encode(self, x, positions):
        return (x + positions).cumsum(1)


def test_a_transformer_that_sees_the_order_gets_it():
    given = tokens(2)
    mask = RandomMasking(0.6)(given, seeded())
    latents = draw(2, mask.num_visible, 24)
    model = decoder(InPlaceDecoder, transformer=Running())
    projected = model.projection(latents)
    whole = model.mask_token.expand(2, 20, -1).clone()
    for row in range(2):
        whole[row, mask.visible[row]] = projected[row]
    expected = (whole + model.position_embedding.table).cumsum(1)
    result = model(latents, given.coordinates, mask)
    torch.testing.assert_close(result, torch.stack([expected[b, mask.masked[b]] for b in range(2)]))
    with pytest.raises(ConfigError, match="class_token must be"):
        decoder(AppendDecoder, class_token="first")


def test_attentive_pool_is_a_block_with_one_query():
    torch.manual_seed(0)
    pool = AttentivePool(16, 2).eval()
    x = draw(3, 7, 16)
    key, value = pool.key_value(pool.norm1(x)).chunk(2, -1)
    query = pool.query(pool.token)
    mixed = []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 8**0.5).softmax(-1)
        mixed.append(weights @ value[..., part])
    pooled = pool.token + pool.proj(torch.cat(mixed, -1))
    expected = (pooled + pool.mlp(pool.norm2(pooled)))[:, 0]
    torch.testing.assert_close(pool(x), expected)
    torch.testing.assert_close(pool(x[:, torch.randperm(7)]), expected)
