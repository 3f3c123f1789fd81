"""Named rules that fit the learning rate to the batch size; the result is printed."""

from __future__ import annotations

from collections.abc import Callable

from mmengine.logging import print_log

from mae3d.engine.config.validation import nearest
from mae3d.errors import ConfigError

RULES: dict[str, Callable[[int], float]] = {
    "none": lambda batch: 1.0,
    "linear_256": lambda batch: batch / 256,
    "linear_512": lambda batch: batch / 512,
    "sqrt_1024": lambda batch: (batch / 1024) ** 0.5,
}


def scale_learning_rate(cfg: dict, world_size: int) -> None:
    """Multiply ``optim_wrapper.optimizer.lr`` by the rule ``lr_scaling`` of the config, in place.

    The batch is the effective one: batch size x processes x accumulated batches. With a rule, ``lr`` in the config is
    a base rate; ``none`` (the default, and the object-point family's) takes it as it is.

    Raises:
        ConfigError: Unknown rule.
    """
    rule = cfg.get("lr_scaling", "none")
    if rule not in RULES:
        raise ConfigError(f"lr_scaling={rule!r} is unknown, expected one of {sorted(RULES)}{nearest(rule, RULES)}")
    wrapper = cfg["optim_wrapper"]
    accumulated = wrapper.get("accumulative_counts", 1)
    batch = cfg["train_dataloader"]["batch_size"] * world_size * accumulated
    base = wrapper["optimizer"]["lr"]
    wrapper["optimizer"]["lr"] = base * RULES[rule](batch)
    print_log(
        f"learning rate {base:g} -> {wrapper['optimizer']['lr']:g} (rule {rule}, effective batch {batch} = "
        f"{cfg['train_dataloader']['batch_size']} x {world_size} processes x {accumulated} accumulated)",
        logger="current",
    )
