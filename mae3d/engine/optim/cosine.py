"""Cosine learning-rate schedule with warm-up, in closed form."""

from __future__ import annotations

import math

from mmengine.logging import print_log
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from mae3d.errors import ConfigError
from mae3d.registry import PARAM_SCHEDULERS


def cosine_with_warmup(
    t: float, total: float, peak: float, floor: float, warmup: float, start: float, shift: bool = False
) -> float:
    """Value of the schedule at time ``t``.

    ``start + t (peak - start) / warmup`` for ``t < warmup``, then ``floor + (peak - floor) (1 + cos(pi t / T)) / 2``
    until ``T``, then ``floor``. By default time is not shifted by the warm-up (``T = total``), so the peak is never
    quite reached; with ``shift`` the cosine begins at the end of the warm-up. Same as timm's ``CosineLRScheduler``
    with ``warmup_prefix=shift``, one cycle, no noise.
    """
    if t < warmup:
        return start + t * (peak - start) / warmup
    if shift:
        t, total = t - warmup, total - warmup
    if t >= total:
        return floor
    return floor + (peak - floor) * (1 + math.cos(math.pi * t / total)) / 2


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """`cosine_with_warmup` as an mmengine scheduler.

    The value depends on the number of steps alone. So a run resumed with a larger ``max_epochs`` moves to the longer
    cosine, instead of staying at the end of the old one.

    Args:
        optimizer: The optimizer wrapper.
        floor: Last value (``lr_min``), scaled like the group's rate under layer-wise decay.
        warmup: Steps of linear warm-up.
        start: Value at step 0, scaled likewise.
        delayed: The official loops of the object-point family set the rate for epoch ``e`` after epoch ``e - 1`` with
            that epoch's number, so epochs 0 and 1 both run at ``start`` and epoch ``e`` at the value of time
            ``e - 1``. With this switch the schedule does the same, and ``T`` is one epoch shorter than the run, which
            has an extra epoch (``EpochLoop(extra_epoch=True)``).
        shift: Begin the cosine at the end of the warm-up.
        begin: First step.
        end: Steps of the whole run; the runner gives it.
        last_step: As in mmengine.
        by_epoch: Step once an epoch; otherwise once an iteration.
        verbose: Print every value.

    Raises:
        ConfigError: The warm-up is longer than the schedule.
    """

    def __init__(
        self,
        optimizer,
        floor: float = 1e-6,
        warmup: int = 10,
        start: float = 1e-6,
        delayed: bool = False,
        shift: bool = False,
        begin: int = 0,
        end: int = INF,
        last_step: int = -1,
        by_epoch: bool = True,
        verbose: bool = False,
    ) -> None:
        self.total = end - begin - int(delayed)
        if warmup >= self.total > 0 and shift:
            raise ConfigError(f"WarmupCosineLR: warmup={warmup} leaves nothing of {self.total} steps")
        self.floor, self.warmup, self.start = floor, warmup, start
        self.delayed, self.shift = delayed, shift
        self.peak = max(group.get("initial_lr", group["lr"]) for group in optimizer.param_groups)
        super().__init__(optimizer, begin, end, last_step, by_epoch, verbose)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin=0, end=INF, warmup=10, by_epoch=True, epoch_length=None, **kwargs):
        """Build the schedule in iterations from one written in epochs (``convert_to_iter_based=True``)."""
        if not by_epoch or not epoch_length or end == INF:
            raise ConfigError("WarmupCosineLR: convert_to_iter_based needs by_epoch=True and a known end")
        times = {"begin": int(begin * epoch_length), "end": int(end * epoch_length)}
        return cls(*args, **times, warmup=int(warmup * epoch_length), by_epoch=False, **kwargs)

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over the position in time; the shape of the curve is the config's."""
        if state_dict.get("total", self.total) != self.total:
            print_log(
                f"learning-rate schedule: {state_dict['total']} steps before, {self.total} from here on",
                logger="current",
            )
        for key in ("last_step", "_global_step", "_last_value"):
            setattr(self, key, state_dict[key])

    def _get_value(self) -> list[float]:
        t = max(self.last_step - int(self.delayed), 0)
        value = cosine_with_warmup(t, self.total, self.peak, self.floor, self.warmup, self.start, self.shift)
        return [base * value / self.peak for base in self.base_values]
