"""Runs one function over many tasks in processes, telling how far it is."""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

Task = TypeVar("Task")
Progress = Callable[[int, int], None]


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def run_parallel(
    function: Callable[[Task], Any], tasks: Sequence[Task], *, workers: int = 0, progress: Progress | None = None
) -> list[Any]:
    """``[function(task) for task in tasks]``, in ``workers`` processes (0 or 1: in this one).

    ``function`` must be importable; the first error stops the rest.
    """
    if workers <= 1 or len(tasks) < 2:
        return _gather(map(function, tasks), len(tasks), progress)
    # Threads of an operator do not survive a fork: start clean processes.
    context = multiprocessing.get_context("spawn")
    chunk = max(1, min(16, len(tasks) // (4 * workers)))
    with ProcessPoolExecutor(min(workers, len(tasks)), mp_context=context, initializer=_one_thread) as pool:
        try:
            return _gather(pool.map(function, tasks, chunksize=chunk), len(tasks), progress)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _gather(results: Iterable[Any], total: int, progress: Progress | None) -> list[Any]:
    gathered = []
    for result in results:
        gathered.append(result)
        if progress is not None:
            progress(len(gathered), total)
    return gathered


class ProgressLine:
    """Prints ``what: done/total, rate, time left`` to stderr at most twice a second (every 10 s if not a terminal)."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.started = self.shown = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Note that ``done`` of ``total`` tasks are finished."""
        now = time.monotonic()
        if done == 1 and total > 1:
            # Starting the processes says nothing about the rate.
            self.started = self.shown = now
            return
        terminal = sys.stderr.isatty()
        if done < total and now - self.shown < (0.5 if terminal else 10):
            return
        self.shown = now
        rate = max(done - 1, 1) / max(now - self.started, 1e-9)
        left = f", {(total - done) / rate:.0f} s left" if done < total else f", {now - self.started:.1f} s"
        end = "\r" if terminal and done < total else "\n"
        print(f"{self.what}: {done}/{total}, {rate:.0f}/s{left}   ", end=end, file=sys.stderr, flush=True)
