"""Randomness without hidden state: every draw is a function of the seed and of where the run stands.

A saved generator state is one per process and per worker, and it is lost for all but one of them when a checkpoint
is written. Here nothing needs saving. Before iteration ``i`` the global generators of a process are seeded from
``(seed, rank, i)``; a sample is drawn under ``(seed, epoch, index)``. So a run that was killed continues with exactly
the numbers it would have drawn, whatever the number of data workers, and any single iteration can be replayed alone.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.hooks import Hook

from mae3d.registry import HOOKS

_WORD = (1 << 64) - 1
_TRAIN, _EVALUATION = 1, 2


def mix(*values: int) -> int:
    """Hash integers to 64 well-spread bits (the finalizer of splitmix64, chained); order matters."""
    state = 0
    for value in values:
        state = (state ^ (value & _WORD)) + 0x9E3779B97F4A7C15 & _WORD
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _WORD
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _WORD
        state ^= state >> 31
    return state


def seed_everything(seed: int) -> None:
    """Seed the global generators of python, numpy and torch (all devices) from 64 bits."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed & (1 << 63) - 1)


@HOOKS.register_module()
class SeedHook(Hook):
    """Seed the global generators before each iteration of training, validation and test.

    Ranks draw different numbers. Every evaluation draws the same numbers, so that metrics of two epochs differ by the
    weights alone.
    """

    priority = "VERY_HIGH"

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed from the iteration counted over the whole run."""
        _seed(runner, mix(runner.seed, _TRAIN, runner.rank, runner.iter))

    def before_val_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed from the position of the batch in the evaluation."""
        _seed(runner, mix(runner.seed, _EVALUATION, runner.rank, batch_idx))

    before_test_iter = before_val_iter


def _seed(runner, seed: int) -> None:
    """Seed the global generators, and that of the preprocessor where it has one of its own."""
    seed_everything(seed)
    model = getattr(runner.model, "module", runner.model)
    generator = getattr(getattr(model, "data_preprocessor", None), "generator", None)
    if generator is not None:
        generator.manual_seed(mix(seed, 1) & (1 << 63) - 1)
