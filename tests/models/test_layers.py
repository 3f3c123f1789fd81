import pytest
import torch
from torch.nn import functional as F

from mae3d.errors import ConfigError
from mae3d.models.layers import Attention, Block, DropPath, Mlp, Packing, attention, drop_path_schedule, initialize
from mae3d.models.layers.attention import _jagged, pad_heads

COUNTS = [5, 0, 9, 5, 1]


def packing(counts=COUNTS):
    return Packing.from_offsets(torch.tensor([0, *counts]).cumsum(0))


def plain_attention(query, key, value):
    """[N, H, D] float64, by the definition."""
    similarity = torch.einsum("nhd,mhd->hnm", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("hnm,mhd->nhd", similarity.softmax(-1), value)


def test_dense_attention_is_the_definition():
    query, key, value = torch.randn(3, 2, 7, 4, 8, dtype=torch.float64)
    expected = torch.stack([plain_attention(*row) for row in zip(query, key, value)])
    torch.testing.assert_close(attention(query, key, value), expected)


@pytest.mark.parametrize("kernel", [attention, _jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_packed_attention_is_dense_attention_per_sample(kernel):
    layout = packing([5, 3, 9, 5, 1])
    rows = torch.randn(3, 23, 2, 4, dtype=torch.float64, requires_grad=True)
    result = kernel(*rows, layout)
    pieces = zip(*(x.split([5, 3, 9, 5, 1]) for x in rows))
    expected = torch.cat([plain_attention(*piece) for piece in pieces])
    torch.testing.assert_close(result, expected)
    weights = torch.randn_like(result)
    own = torch.autograd.grad((result * weights).sum(), rows)[0]
    torch.testing.assert_close(own, torch.autograd.grad((expected * weights).sum(), rows)[0])


def test_widened_heads_attend_alike():
    rows = torch.randn(3, 7, 2, 30, dtype=torch.float64)
    wide = pad_heads(*rows)
    assert [x.shape[-1] for x in wide] == [32, 32, 32]
    torch.testing.assert_close(plain_attention(*wide)[..., :30], plain_attention(*rows))
    assert all(a is b for a, b in zip(pad_heads(*wide), wide))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="kernels of a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("width", [8, 30])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_packed_attention_on_a_device_takes_any_width_of_heads(dtype, width):
    layout = Packing.from_offsets(torch.tensor([0, 5, 14, 19, 20], device="cuda"))
    rows = torch.randn(3, 20, 2, width, device="cuda", dtype=dtype)
    expected = torch.cat([plain_attention(*piece) for piece in zip(*(x.double().split([5, 9, 5, 1]) for x in rows))])
    torch.testing.assert_close(attention(*rows, layout).double(), expected, rtol=2e-2, atol=2e-2)


def test_forbidden_pairs_do_not_meet():
    query, key, value = torch.randn(3, 2, 6, 2, 4, dtype=torch.float64)
    allowed = torch.ones(2, 6, 6, dtype=torch.bool)
    allowed[0, :3, 3:] = False
    result = attention(query, key, value, allowed=allowed)
    torch.testing.assert_close(result[0, :3], plain_attention(query[0, :3], key[0, :3], value[0, :3]))
    torch.testing.assert_close(result[1], plain_attention(query[1], key[1], value[1]))


def test_packed_rows_see_what_they_are_allowed_of_their_own_sample():
    layout = packing()
    query, key, value = torch.randn(3, layout.sample.shape[0], 2, 8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    size = (layout.batch_size, layout.max_length, layout.max_length)
    allowed = torch.rand(size, generator=generator) < 0.6  # of padding too
    allowed[:, :, 0] = True
    result = attention(query, key, value, layout, allowed)
    for start, end, seen in zip(layout.offsets[:-1].tolist(), layout.offsets[1:].tolist(), allowed):
        own = (part[None, start:end] for part in (query, key, value))
        expected = attention(*own, allowed=seen[None, : end - start, : end - start])
        torch.testing.assert_close(result[start:end], expected[0])


@pytest.mark.parametrize("masked", [False, True])
def test_dropped_softmax_weights_leave_the_mean(masked):
    torch.manual_seed(0)
    rows = torch.randn(3, 5, 2, 4)
    allowed = torch.ones(3000, 5, 5, dtype=torch.bool) if masked else None
    draws = attention(*rows.repeat(1, 3000, 1, 1), packing((5,) * 3000), allowed, dropout=0.3).unflatten(0, (3000, 5))
    assert draws.std(0).min() > 0
    torch.testing.assert_close(draws.mean(0), attention(*rows, packing((5,))), atol=0.1, rtol=0.1)


def test_dropout_of_a_block_is_at_the_end_of_both_branches():
    block = Block(16, 2, norm="post", dropout=0.4).train()
    added = []
    for norm in (block.norm1, block.norm2):
        norm.register_forward_hook(lambda module, inputs, output: added.append(inputs[0]))
    x = torch.zeros(4, 50, 16)
    block(x)
    for before, after in zip((x, block.norm1(added[0])), added[:2]):
        assert (after == before).double().mean().item() == pytest.approx(0.4, abs=0.06)
    assert torch.equal(block.eval()(x), block(x))
    plain = Block(16, 2, attention_dropout=0.5)
    torch.manual_seed(0)
    x = torch.randn(2, 6, 16)
    assert not torch.equal(plain.train()(x), plain(x))
    assert torch.equal(plain.eval()(x), plain(x))


def test_packed_attention_with_empty_samples():
    layout = packing()
    rows = torch.randn(3, sum(COUNTS), 2, 4)
    result = attention(*rows, layout)
    assert torch.equal(result[5:14], attention(*(x[None, 5:14] for x in rows))[0])
    nothing = Packing.from_offsets(torch.zeros(3, dtype=torch.int64))
    assert attention(*rows[:, :0], nothing).shape == (0, 2, 4)


def test_padding_and_back():
    layout = Packing.from_offsets(torch.tensor([0, 2, 2, 5]))
    rows = torch.arange(10.0).view(5, 2)
    padded = layout.pad(rows, -1)
    assert padded[..., 0].tolist() == [[0, 2, -1], [-1, -1, -1], [4, 6, 8]]
    assert torch.equal(layout.unpad(padded), rows)


def test_prepend_makes_room_at_the_head_of_each_sample():
    wider, heads, rows = packing([2, 0, 1]).prepend(2)
    assert wider.offsets.tolist() == [0, 4, 6, 9]
    assert heads.tolist() == [[0, 1], [4, 5], [6, 7]]
    assert rows.tolist() == [2, 3, 8]
    assert wider.sample.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]
    assert wider.max_length == 4


@pytest.mark.parametrize("bias", ["none", "q_v", "full"])
def test_qkv_bias_forms(bias):
    layer = Attention(8, 2, bias).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    full = {"none": torch.zeros(24).double(), "full": layer.qkv.bias}.get(bias)
    if bias == "q_v":
        full = torch.cat((layer.q_bias, torch.zeros(8).double(), layer.v_bias))
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    query, key, value = F.linear(x, layer.qkv.weight, full).reshape(2, 5, 3, 2, 4).unbind(2)
    mixed = torch.stack([plain_attention(*row) for row in zip(query, key, value)]).flatten(2)
    torch.testing.assert_close(layer(x), layer.proj(mixed))
    assert sum(p.numel() for p in layer.parameters()) == 192 + 72 + {"none": 0, "q_v": 16, "full": 24}[bias]


def test_norm_placements():
    x = torch.randn(2, 4, 8)
    for placement in ("pre", "post", "residual"):
        block = Block(8, 2, norm=placement)
        attend, feed = lambda y, b=block: b.attn(y), lambda y, b=block: b.mlp(y)
        if placement == "pre":
            y = x + attend(block.norm1(x))
            expected = y + feed(block.norm2(y))
        elif placement == "post":
            y = block.norm1(x + attend(x))
            expected = block.norm2(y + feed(y))
        else:
            y = x + block.norm1(attend(x))
            expected = y + block.norm2(feed(y))
        torch.testing.assert_close(block(x), expected)


def test_layer_scale_zero_is_identity():
    x = torch.randn(2, 4, 8)
    assert torch.equal(Block(8, 2, layer_scale=0.0)(x), x)


def test_drop_path_keeps_whole_samples_and_their_mean():
    torch.manual_seed(0)
    layer = DropPath(0.25)
    x = torch.ones(20000, 2, 3)
    y = layer(x)
    assert set(y.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert (y == y[:, :1, :1]).all()
    assert abs(y.mean().item() - 1) < 0.02
    assert torch.equal(layer.eval()(x), x)


def test_drop_path_of_packed_rows_is_per_sample():
    torch.manual_seed(1)
    counts = list(range(1, 40))
    y = DropPath(0.5)(torch.ones(sum(counts), 2), packing(counts))
    pieces = y.split(counts)
    assert all((piece == piece[0, 0]).all() for piece in pieces)
    assert {piece[0, 0].item() for piece in pieces} == {0.0, 2.0}


def test_drop_path_schedule():
    assert drop_path_schedule(0.1, 3) == pytest.approx([0, 0.05, 0.1])
    assert drop_path_schedule(0.1, 1) == [0.0]


def test_initialization_schemes():
    layer = Mlp(256, 1024)
    initialize(layer, "trunc_normal")
    assert layer.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not layer.fc1.bias.any()
    initialize(layer, "xavier_uniform")
    assert layer.fc1.weight.abs().max().item() <= (6 / 1280) ** 0.5
    before = layer.fc1.weight.clone()
    initialize(layer, "default")
    assert torch.equal(layer.fc1.weight, before)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Attention(10, 3), "multiple of num_heads"),
        (lambda: Attention(8, 2, "half"), "qkv_bias must be"),
        (lambda: Block(8, 2, norm="sandwich"), "norm must be"),
        (lambda: DropPath(1.0), r"in \[0, 1\)"),
        (lambda: Mlp(8, 8, "tanh"), "activation must be one of"),
        (lambda: initialize(Mlp(8, 8), "zeros"), "scheme must be"),
    ],
)
def test_wrong_options_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
