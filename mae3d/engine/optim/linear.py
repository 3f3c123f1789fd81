"""Linear learning-rate schedule with warm-up, as the trainers of language models have it."""

from __future__ import annotations

import math

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from mae3d.errors import ConfigError
from mae3d.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupLinearLR(LRSchedulerMixin, _ParamScheduler):
    """From 0 up to the rate, then down to 0 at the end, both linearly (transformers' "linear" schedule).

    The value depends on the number of steps alone.

    Args:
        optimizer: The optimizer wrapper.
        warmup_ratio: Share of the steps that warm up, rounded up to whole steps.
        begin: First step.
        end: Steps of the whole run; the runner gives it.
        last_step: As in mmengine.
        by_epoch: Step once an epoch; otherwise once an iteration.
        verbose: Print every value.

    Raises:
        ConfigError: The ratio is outside [0, 1).
    """

    def __init__(
        self,
        optimizer,
        warmup_ratio: float = 0.1,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        if not 0 <= warmup_ratio < 1:
            raise ConfigError(f"WarmupLinearLR: warmup_ratio must be in [0, 1), got {warmup_ratio}")
        self.total = end - begin
        self.warmup = math.ceil(self.total * warmup_ratio)
        super().__init__(optimizer, begin, end, last_step, by_epoch, verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin=0, end=INF, by_epoch=True, epoch_length=None, **kwargs):
        """Build the schedule in iterations from one written in epochs (``convert_to_iter_based=True``)."""
        if not by_epoch or not epoch_length or end == INF:
            raise ConfigError("WarmupLinearLR: convert_to_iter_based needs by_epoch=True and a known end")
        return cls(*args, begin=int(begin * epoch_length), end=int(end * epoch_length), by_epoch=False, **kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the position in time; the shape of the line is the config's."""
        for key in ("last_step", "_global_step", "_last_value"):
            setattr(self, key, state_dict[key])

    def _get_value(self) -> list[float]:
        if self.last_step < self.warmup:
            share = self.last_step / self.warmup
        else:
            share = max(0.0, (self.total - self.last_step) / max(1, self.total - self.warmup))
        return [base * share for base in self.base_values]
