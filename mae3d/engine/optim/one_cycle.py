"""One-cycle schedules of rate and momentum with cosine ramps, in closed form.

Source: OpenPCDet's ``adam_onecycle`` (after fastai) and mmcv's ``cyclic`` policy with one cycle.
"""

from __future__ import annotations

import math

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from mae3d.errors import ConfigError
from mae3d.registry import PARAM_SCHEDULERS


def one_cycle(t: float, total: int, start: float, peak: float, end: float, up: float) -> float:
    """Value at step ``t``: cosine from ``start`` to ``peak`` over ``int(up * total)`` steps, cosine to ``end``."""
    turn = int(up * total)
    if t < turn:
        return peak + (start - peak) * (1 + math.cos(math.pi * t / turn)) / 2
    place = min(1.0, (t - turn) / max(1, total - turn))
    return end + (peak - end) * (1 + math.cos(math.pi * place)) / 2


class _OneCycle(_ParamScheduler):
    """One cycle over the run; its value depends on the number of steps alone, so a longer resumed run moves over."""

    def __init__(
        self,
        optimizer,
        *names: str,
        start: float,
        peak: float,
        end_value: float,
        up: float = 0.4,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = False,
        verbose: bool = False,
    ) -> None:
        if not 0 < up < 1:
            raise ConfigError(f"{type(self).__name__}: up must lie between 0 and 1, got {up}")
        self.total, self.shape = end - begin, (start, peak, end_value, up)
        super().__init__(optimizer, *names, begin, end, last_step, by_epoch, verbose)

    def value(self) -> float:
        """Of the cycle at the current step."""
        return one_cycle(self.last_step, self.total, *self.shape)

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the position in time; the shape of the curve is the config's."""
        for key in ("last_step", "_global_step", "_last_value"):
            setattr(self, key, state_dict[key])


@PARAM_SCHEDULERS.register_module()
class OneCycleRate(LRSchedulerMixin, _OneCycle):
    """Learning rate of one cycle; the optimizer's rate is the peak.

    Args:
        optimizer: The optimizer wrapper.
        start: First value over the peak.
        final: Last value over the peak.
        up: Share of the steps on which the rate rises.
        **options: As in mmengine; steps are iterations unless ``by_epoch`` is set.

    Raises:
        ConfigError: ``up`` outside (0, 1).
    """

    def __init__(self, optimizer, start: float = 0.1, final: float = 1e-5, up: float = 0.4, **options) -> None:
        super().__init__(optimizer, start=start, peak=1.0, end_value=final, up=up, **options)

    def _get_value(self) -> list[float]:
        return [base * self.value() for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class OneCycleMomentum(MomentumSchedulerMixin, _OneCycle):
    """Momentum (Adam's first beta) that falls while the rate rises.

    Args:
        optimizer: The optimizer wrapper.
        high: Value at both ends.
        low: Value at the peak of the rate.
        up: Share of the steps on which the rate rises.
        **options: As in mmengine; steps are iterations unless ``by_epoch`` is set.

    Raises:
        ConfigError: ``up`` outside (0, 1).
    """

    def __init__(self, optimizer, high: float = 0.95, low: float = 0.85, up: float = 0.4, **options) -> None:
        super().__init__(optimizer, start=high, peak=low, end_value=high, up=up, **options)

    def _get_value(self) -> list[float]:
        return [self.value() for _ in self.base_values]
