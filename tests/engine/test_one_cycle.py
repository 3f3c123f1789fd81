"""One-cycle schedules against the published values, and the optimizer they drive."""

import math

import pytest
import torch
from mmengine.config import Config
from torch import nn

from mae3d.engine.optim import OneCycleMomentum, OneCycleRate
from mae3d.engine.optim.one_cycle import one_cycle
from mae3d.errors import ConfigError
from tests.engine.runs import ROOT


def run(steps, peak=3e-3, rate=(), momentum=()):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], peak, betas=(0.95, 0.99), weight_decay=0.01)
    schedules = [
        OneCycleRate(optimizer, end=steps, **dict(rate)),
        OneCycleMomentum(optimizer, end=steps, **dict(momentum)),
    ]
    trace = []
    for _ in range(steps + 1):
        group = optimizer.param_groups[0]
        trace.append((group["lr"], group["betas"]))
        optimizer.step()
        for schedule in schedules:
            schedule.step()
    return trace


def published(step, total, peak=3e-3, divisor=10, pct=0.4, moms=(0.95, 0.85)):
    """OpenPCDet's two phases with fastai's annealing_cos."""

    def annealing_cos(start, end, share):
        return end + (start - end) / 2 * (math.cos(math.pi * share) + 1)

    turn = int(pct * total)
    low = peak / divisor
    if step < turn:
        return annealing_cos(low, peak, step / turn), annealing_cos(*moms, step / turn)
    share = (step - turn) / (total - turn)
    return annealing_cos(peak, low / 1e4, share), annealing_cos(*moms[::-1], share)


def test_equals_the_published_schedule():
    total = 53
    for step, (rate, betas) in enumerate(run(total)[:total]):
        expected = published(step, total)
        assert (rate, betas[0]) == pytest.approx(expected, rel=1e-9)
        assert betas[1] == 0.99


def test_corner_values():
    trace = run(50)
    assert [trace[n][0] for n in (0, 20)] == pytest.approx([3e-4, 3e-3], rel=1e-9)
    assert [trace[n][1][0] for n in (0, 20)] == pytest.approx([0.95, 0.85])
    assert one_cycle(50, 50, 0.1, 1.0, 1e-5, 0.4) == pytest.approx(1e-5)  # reached after the last step


def test_the_cycle_of_voxel_mae():
    trace = run(100, 1e-3, {"start": 0.01, "final": 1e-5, "up": 0.1})
    assert [trace[n][0] for n in (0, 10)] == pytest.approx([1e-5, 1e-3], rel=1e-9)
    assert trace[99][0] < 1e-6


def test_adamw_decays_as_the_fastai_wrapper():
    """p *= 1 - weight decay * rate, then Adam's step; here Adam's step is 0."""
    parameter = nn.Parameter(torch.full((1,), 2.0))
    optimizer = torch.optim.AdamW([parameter], 0.1, weight_decay=0.01)
    parameter.grad = torch.zeros(1)
    optimizer.step()
    assert parameter.item() == pytest.approx(2.0 * (1 - 0.01 * 0.1))


def test_resuming_continues_the_trace():
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], 1e-3)
    schedule = OneCycleRate(optimizer, end=20)
    for _ in range(7):
        optimizer.step()
        schedule.step()
    again = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], 1e-3)
    resumed = OneCycleRate(again, end=20)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    for _ in range(5):
        for optimizer_, schedule_ in ((optimizer, schedule), (again, resumed)):
            optimizer_.step()
            schedule_.step()
    assert again.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]


def test_impossible_share():
    with pytest.raises(ConfigError, match="up must lie"):
        OneCycleRate(torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1), up=1.0)


SCHEDULES = sorted((ROOT / "configs" / "_base_" / "schedules").glob("*.py"))


@pytest.mark.parametrize("path", SCHEDULES, ids=lambda path: path.stem)
def test_configs_count_iterations(path):
    """The runner takes the end of a schedule from the config alone: without by_epoch=False it ends after max_epochs."""
    cycles = [one for one in Config.fromfile(path).param_scheduler if "OneCycle" in str(one.type)]
    assert all(one.get("by_epoch") is False for one in cycles)
