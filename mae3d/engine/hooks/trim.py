"""Give memory that the process has freed back to the system."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

from mmengine.hooks import Hook

from mae3d.registry import HOOKS


@HOOKS.register_module()
class TrimMemoryHook(Hook):
    """Return freed host memory every few iterations (glibc's ``malloc_trim``; elsewhere nothing happens).

    Packed clouds have another size in every batch, and the holes that they leave behind in the heap are seldom large
    enough for the next one: a training on CPU grows to two or three times what it uses. What is returned must be
    fetched again, page by page, so that a step takes about half as long again: for machines that lack the memory.

    Args:
        interval: Iterations between two calls. Within ten of them a training is back where it was.
    """

    priority = "VERY_LOW"

    def __init__(self, interval: int = 1) -> None:
        self.interval = interval

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Trim, every ``interval`` iterations."""
        if self.every_n_train_iters(runner, self.interval):
            trim_memory()


def trim_memory() -> bool:
    """Return freed host memory to the system; whether there was any, and a way to do it."""
    trim = _malloc_trim()
    return trim is not None and bool(trim(0))


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
    if trim is not None:
        trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
