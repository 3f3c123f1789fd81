import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.backbones import ViT


def small(**options):
    torch.manual_seed(0)
    return ViT(16, 3, 2, **options)


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 7, 16, generator=generator), torch.randn(2, 7, 16, generator=generator)


def test_position_every_block_accumulates():
    model = small(position="every_block")
    x, position = inputs()
    expected = x
    for block in model.blocks:
        expected = block(expected + position)
    torch.testing.assert_close(model(x, position), model.norm(expected))
    assert not torch.allclose(model(x, position), model(x + position, torch.zeros_like(x)))


def test_position_once_and_none():
    x, position = inputs()
    once, none = small(position="once"), small(position="none")
    torch.testing.assert_close(once(x, position), none(x + position))
    torch.testing.assert_close(none(x, position), none(x))
    with pytest.raises(ValueError, match="needs position embeddings"):
        once(x)


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("position", ["once", "every_block", "none"])
def test_packed_equals_dense(class_token, position):
    model = small(position=position, class_token=class_token)
    x, places = inputs()
    offsets = torch.tensor([0, 4, 4, 7])
    packed = model(x[0], places[0], offsets)
    extra = int(class_token)
    rows = packed.split([4 + extra, extra, 3 + extra])
    torch.testing.assert_close(rows[0], model(x[:1, :4], places[:1, :4])[0])
    torch.testing.assert_close(rows[2], model(x[:1, 4:], places[:1, 4:])[0])


def test_class_token_comes_first_with_its_own_position():
    model = small(class_token=True, position="every_block")
    x, position = inputs()
    assert model(x, position).shape == (2, 8, 16)
    plain = small(position="every_block")
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("class_")})
    whole = torch.cat((model.class_token.expand(2, -1, -1), x), 1)
    places = torch.cat((model.class_position.expand(2, -1, -1), position), 1)
    torch.testing.assert_close(model(x, position), plain(whole, places))


def test_class_token_without_position():
    model = small(class_token=True, class_position=False, position="every_block")
    assert "class_position" not in model.state_dict()
    x, position = inputs()
    with_zero = small(class_token=True, position="every_block")
    with_zero.load_state_dict({**model.state_dict(), "class_position": torch.zeros(1, 1, 16)})
    torch.testing.assert_close(model(x, position), with_zero(x, position))


def test_intermediate_outputs():
    model = small()
    x, position = inputs()
    first, last = model.intermediate(x, position, [0, -1])
    torch.testing.assert_close(first, model.norm(model.blocks[0](x + position)))
    torch.testing.assert_close(last, model(x, position))


def test_gradient_checkpointing_changes_nothing():
    x, position = inputs()
    gradients = []
    for checkpointing in (False, True):
        model = small(gradient_checkpointing=checkpointing, drop_path=0.5)
        torch.manual_seed(3)
        model(x, position).square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_samples_are_independent_and_order_does_not_matter():
    model = small().eval()
    x, position = inputs()
    order = torch.randperm(7)
    torch.testing.assert_close(model(x[:, order], position[:, order]), model(x, position)[:, order])
    torch.testing.assert_close(model(x.flip(0), position.flip(0)), model(x, position).flip(0))


def test_no_final_norm_and_wrong_position():
    x, position = inputs()
    model = small(final_norm=False)
    assert torch.equal(model(x, position), model.encode(x, position))
    with pytest.raises(ConfigError, match="position must be"):
        ViT(position="rotary")


def test_drop_path_rises_to_the_last_block():
    rates = [block.drop_path.rate for block in ViT(16, 5, 2, drop_path=0.1).blocks]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])
