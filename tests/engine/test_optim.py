"""Learning-rate trace, parameter groups, precision, accumulation."""

import math

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.optim import build_optim_wrapper
from torch import nn

from mae3d.engine.optim import (
    LARS,
    PrecisionOptimWrapper,
    TransformerOptimConstructor,
    WarmupCosineLR,
    WarmupLinearLR,
    scale_learning_rate,
)
from mae3d.engine.optim.groups import is_decayed
from mae3d.errors import ConfigError
from mae3d.models.heads import P3PClassifier
from mae3d.models.methods import PointMAE
from tests.engine.runs import ROOT
from tests.engine.small_model import SmallAutoencoder


def trace(epochs, peak=1e-3, **options):
    """Rate of every epoch."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=peak)
    schedule = WarmupCosineLR(optimizer, end=epochs, **options)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_linear_schedule_is_that_of_transformers():
    transformers = pytest.importorskip("transformers", reason="the oracle transformers is not installed")
    rates = []
    for kind in ("ours", "theirs"):
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)
        if kind == "ours":
            schedule = WarmupLinearLR.build_iter_from_epoch(optimizer, warmup_ratio=0.15, end=3, epoch_length=11)
        else:
            schedule = transformers.get_linear_schedule_with_warmup(optimizer, math.ceil(0.15 * 33), 33)
        values = []
        for _ in range(34):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        rates.append(values)
    assert rates[0][:33] == pytest.approx(rates[1][:33], abs=1e-12)
    assert rates[0][0] == 0.0
    with pytest.raises(ConfigError, match="warmup_ratio must be in"):
        WarmupLinearLR(optimizer, warmup_ratio=1.0)


def published(epoch, peak=1e-3, total=300, low=1e-6):
    """object-point family: CosineLRScheduler(t_initial=300, warmup_t=10).step(epoch) after every epoch."""
    t = max(epoch - 1, 0)
    if t < 10:
        return low + t * (peak - low) / 10
    return low + (peak - low) * (1 + math.cos(math.pi * t / total)) / 2


def test_published_trace():
    rates = trace(301, delayed=True)
    assert rates == pytest.approx([published(epoch) for epoch in range(301)], rel=1e-12)
    assert rates[0] == rates[1] == pytest.approx(1e-6, rel=1e-12)
    assert rates[2] == pytest.approx(1e-6 + (1e-3 - 1e-6) / 10, rel=1e-12)
    assert max(rates) < 1e-3


def test_plain_trace():
    rates = trace(300)
    assert rates[1] == pytest.approx(1e-6 + (1e-3 - 1e-6) / 10)
    assert rates[150] == pytest.approx((1e-3 + 1e-6) / 2)
    shifted = trace(300, shift=True)
    assert shifted[10] == pytest.approx(1e-3)


def test_schedule_grows_with_a_resumed_run():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    state = WarmupCosineLR(optimizer, end=20).state_dict()
    longer = WarmupCosineLR(optimizer, end=40)
    longer.load_state_dict({**state, "last_step": 19, "_global_step": 19})
    optimizer.step()
    longer.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(trace(40, peak=1.0)[20])


def test_rates_per_iteration_follow_those_per_epoch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1e-3)
    schedule = WarmupCosineLR.build_iter_from_epoch(optimizer, end=30, epoch_length=4)
    for _ in range(20 * 4):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(trace(30)[20])


def test_groups_follow_the_published_rule():
    model = PointMAE(embed_dim=24, depth=2, num_heads=2, decoder_depth=1, decoder_num_heads=2)
    wrapper = build(model)
    decayed = {id(p) for group in wrapper.optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in model.named_parameters():
        expected = parameter.ndim > 1 and not name.endswith("bias") and not name.endswith("mask_token")
        assert (id(parameter) in decayed) == expected, name
    assert sum(len(group["params"]) for group in wrapper.optimizer.param_groups) == len(list(model.parameters()))


@pytest.mark.parametrize(
    ("name", "decays"),
    [
        ("decoder.mask_token", False),
        ("token_embed.0.weight", False),
        ("tokenizer.first.weight", True),
        ("encoder.class_position", True),
        ("blocks.0.bias", False),
    ],
)
def test_words_without_decay(name, decays):
    assert is_decayed(name, nn.Parameter(torch.zeros(2, 2))) is decays


def test_layer_wise_decay():
    wrapper = build(SmallAutoencoder(), layer_decay=0.5)
    rates = {group["lr"] for group in wrapper.optimizer.param_groups}
    assert rates == {1e-3, 5e-4, 2.5e-4, 1.25e-4}
    with pytest.raises(ConfigError, match="get_layer_depth"):
        build(nn.Linear(2, 2), layer_decay=0.5)


def test_fine_tuning_of_p3p_takes_the_published_rates():
    """0.53 to the power of the layers above: 12 blocks, below them patches and class token, on top norm and head."""
    options = Config.fromfile(ROOT / "configs" / "p3p" / "p3p_small_200e_scanobjectnn-pb-t50-rs.py").optim_wrapper
    model = P3PClassifier(embed_dim=12, depth=12, num_heads=2, cells=8, patch_size=4)
    groups = build_optim_wrapper(model, options).optimizer.param_groups
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        below = name.startswith(("tokenizer.", "position_embedding.", "encoder.class_"))
        layer = 0 if below else int(name.split(".")[2]) + 1 if name.startswith("encoder.blocks.") else 13
        assert rates[id(parameter)] == pytest.approx(2.5e-4 * 0.53 ** (13 - layer)), name


def test_frozen_parameters_are_left_out():
    model = SmallAutoencoder()
    model.blocks.requires_grad_(False)
    names = sum(len(group["params"]) for group in build(model).optimizer.param_groups)
    assert names == sum(p.requires_grad for p in model.parameters())
    with pytest.raises(ConfigError, match="nothing can be trained"):
        build(model.requires_grad_(False))


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match="layer_decy"):
        build(SmallAutoencoder(), layer_decy=0.5)
    with pytest.raises(ConfigError, match="fp16"):
        PrecisionOptimWrapper(torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0), precision="fp8")


def build(model, **paramwise):
    cfg = ConfigDict(optimizer=ConfigDict(type="AdamW", lr=1e-3, weight_decay=0.05))
    return TransformerOptimConstructor(cfg, paramwise)(model)


def test_bf16_runs_the_forward_pass_in_bf16():
    layer = nn.Linear(8, 8)
    wrapper = PrecisionOptimWrapper(torch.optim.SGD(layer.parameters(), lr=1e-2), precision="bf16")
    with wrapper.optim_context(layer):
        output = layer(torch.ones(2, 8))
    assert output.dtype == torch.bfloat16
    wrapper.update_params(output.float().square().mean())
    assert layer.weight.dtype == torch.float32
    assert layer.weight.grad is None


def test_accumulation_is_the_whole_batch():
    torch.manual_seed(0)
    data = torch.randn(4, 8)
    one, many = nn.Linear(8, 1), nn.Linear(8, 1)
    many.load_state_dict(one.state_dict())
    whole = PrecisionOptimWrapper(torch.optim.SGD(one.parameters(), lr=0.1), clip_grad={"max_norm": 0.5})
    parts = PrecisionOptimWrapper(
        torch.optim.SGD(many.parameters(), lr=0.1), accumulative_counts=4, clip_grad={"max_norm": 0.5}
    )
    whole.update_params(one(data).square().mean())
    for row in data:
        parts.update_params(many(row[None]).square().mean())
    torch.testing.assert_close(one.weight, many.weight)
    torch.testing.assert_close(whole.grad_norm, parts.grad_norm)


def test_double_step_of_the_published_segmentation():
    weight = nn.Parameter(torch.tensor([1.0]))
    wrapper = PrecisionOptimWrapper(
        torch.optim.SGD([weight], lr=1.0), clip_grad={"max_norm": 0.25}, repeat_unclipped_step=True
    )
    wrapper.update_params((weight * 2).sum())
    assert weight.item() == pytest.approx(1.0 - 2.0 - 0.25)


@pytest.mark.parametrize(("rule", "factor"), [("none", 1.0), ("linear_256", 0.25), ("sqrt_1024", 0.25)])
def test_learning_rate_rules(rule, factor):
    cfg = {
        "lr_scaling": rule,
        "train_dataloader": {"batch_size": 16},
        "optim_wrapper": {"optimizer": {"lr": 1.0}, "accumulative_counts": 2},
    }
    scale_learning_rate(cfg, world_size=2)
    assert cfg["optim_wrapper"]["optimizer"]["lr"] == pytest.approx(factor)


def test_unknown_rule_gives_the_nearest():
    with pytest.raises(ConfigError, match='did you mean "linear_256"'):
        scale_learning_rate({"lr_scaling": "linear_255"}, world_size=1)


def test_lars_equals_its_formula():
    torch.manual_seed(0)
    weight, bias = torch.nn.Parameter(torch.randn(3, 4)), torch.nn.Parameter(torch.randn(3))
    expected = [weight.detach().clone(), bias.detach().clone()]
    velocity = [torch.zeros(3, 4), torch.zeros(3)]
    optimizer = LARS([weight, bias], lr=0.5, weight_decay=0.1)
    for step in range(3):
        gradients = [torch.randn(3, 4), torch.randn(3)]
        weight.grad, bias.grad = (gradient.clone() for gradient in gradients)
        optimizer.step()
        decayed = gradients[0] + 0.1 * expected[0]
        updates = [decayed * (0.001 * expected[0].norm() / decayed.norm()), gradients[1]]
        for value, speed, update in zip(expected, velocity, updates):
            speed.mul_(0.9).add_(update)
            value.sub_(0.5 * speed)
        torch.testing.assert_close([weight.detach(), bias.detach()], expected, msg=f"step {step}")
    frozen = torch.nn.Parameter(torch.zeros(2, 2))  # no norm: the plain step
    frozen.grad = torch.ones(2, 2)
    LARS([frozen], lr=0.5).step()
    torch.testing.assert_close(frozen.detach(), torch.full((2, 2), -0.5))
