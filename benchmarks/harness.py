"""Times an operator beside its peers in one process and prints ratios.

Every peer runs on the same inputs; the figure is the median of repeated calls after a warm-up. One thread:
CPU time of the process, which survives a busy machine. More threads: wall time. On a GPU: time between two events
around the call. A peer that cannot be imported is listed as absent, never silently left out.

A case may say how many bytes it must move at least (every input read once, every result written once) or how many
operations it does; on a GPU the rate is then shown beside what a copy or a float32 matrix product reaches there.
"""

from __future__ import annotations

import functools
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

Call = Callable[[], object]
GROWTH_SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)


@dataclass
class Case:
    """One size of one operator: ``ours`` and each peer is a function without arguments."""

    name: str
    ours: Call
    peers: dict[str, Call] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # peer -> why it is missing
    bytes_moved: float = 0.0  # least traffic of one call of ours
    operations: float = 0.0  # floating-point operations of one call of ours
    kept: dict[str, float] = field(default_factory=dict)  # who -> megabytes kept for the backward pass


def optional(importer: Callable[[], object]) -> tuple[object | None, str]:
    """Import a peer: (module, "") or (None, reason)."""
    try:
        return importer(), ""
    except Exception as error:  # a peer may fail to import in any way
        return None, f"{type(error).__name__}: {error}".splitlines()[0][:80]


def mmcv_ops(case_absent: dict[str, str]) -> Any | None:
    """The operators of mmcv, or None with the reason put into ``case_absent``."""
    ops, why = optional(lambda: __import__("mmcv.ops", fromlist=["ops"]))
    if ops is None:
        case_absent["mmcv"] = why
    return ops


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


BUDGET = float(os.environ.get("MAE3D_BENCH_SECONDS", "2"))
"""Seconds that one figure may take; a call that alone takes longer is still made at least once."""


THREADS = tuple(int(count) for count in os.environ.get("MAE3D_BENCH_THREADS", "1 2").split())
"""Numbers of threads; on a machine that is busy with other work only the CPU time of one thread means something."""


def measure(call: Call, threads: int, budget_s: float = BUDGET, max_calls: int = 30) -> float:
    """Median milliseconds per call."""
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        timed = _device_milliseconds
    else:
        clock = time.process_time if threads == 1 else time.perf_counter

        def timed(call: Call) -> float:
            begin = clock()
            call()
            return (clock() - begin) * 1e3

    for _ in range(3 if torch.cuda.is_available() else 1):
        call()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < max_calls:
        spent = time.perf_counter() - start
        if times and spent > (budget_s if len(times) >= 3 else 3 * budget_s):
            break
        times.append(timed(call))
    return statistics.median(times)


def _device_milliseconds(call: Call) -> float:
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end)


@functools.cache
def ceilings() -> tuple[float, float]:
    """Bytes per second of a large copy (read and written) and float32 operations per second of a matrix product."""
    source = torch.empty(1 << 28, device="cuda")
    target = torch.empty_like(source)
    copy = 2 * source.nbytes / (measure(lambda: target.copy_(source), 1) * 1e-3)
    matrix = torch.randn(8192, 8192, device="cuda")
    product = 2 * 8192**3 / (measure(lambda: matrix @ matrix, 1) * 1e-3)
    return copy, product


def rate(case: Case, milliseconds: float) -> str:
    """What ``case`` reaches of the device's limits, "" where it does not say what it does."""
    copy, product = ceilings()
    texts = []
    if case.bytes_moved:
        reached = case.bytes_moved / (milliseconds * 1e-3)
        texts.append(f"{reached / 1e9:.0f} GB/s, {reached / copy:.0%} of a copy")
    if case.operations:
        reached = case.operations / (milliseconds * 1e-3)
        texts.append(f"{reached / 1e12:.2f} TFLOP/s, {reached / product:.0%} of a float32 product")
    return "; ".join(texts)


def run(title: str, cases: list[Case], threads: tuple[int, ...] = THREADS) -> str:
    """Time all cases and return (and print) a markdown section."""
    if torch.cuda.is_available():
        return run_on_device(title, cases)
    lines = [f"## {title}", "", f"{cpu_name()}, torch {torch.__version__}, median ms per call, threads {threads}", ""]
    lines += ["| case | threads | mae3d | best peer | ratio | all peers |", "|---|---|---|---|---|---|"]
    for case in cases:
        for count in threads:
            ours = measure(case.ours, count)
            verdict, listing = compare(case, ours, {name: measure(call, count) for name, call in case.peers.items()})
            lines.append(f"| {case.name} | {count} | {ours:.2f} | {verdict} | {listing} |")
            print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    return text


def compare(case: Case, ours: float, peers: dict[str, float]) -> tuple[str, str]:
    """Cells "best peer | ratio" and the list of all peers."""
    best = min(peers, key=peers.__getitem__) if peers else None
    listing = ", ".join(f"{name} {value:.2f}" for name, value in sorted(peers.items(), key=lambda pair: pair[1]))
    listing += "".join(f", {name} absent ({why})" for name, why in case.absent.items())
    if case.kept:
        listing += "; kept for backward: " + ", ".join(f"{who} {size:.0f} MB" for who, size in case.kept.items())
    return (f"{best} {peers[best]:.2f} | {peers[best] / ours:.2f}x" if best else "- | -"), listing


def run_on_device(title: str, cases: list[Case]) -> str:
    """The table of :func:`run` on a GPU, with rates."""
    copy, product = ceilings()
    lines = [
        f"## {title}",
        "",
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, median ms per call; "
        f"a copy moves {copy / 1e9:.0f} GB/s, a float32 product does {product / 1e12:.1f} TFLOP/s",
        "",
        "| case | mae3d | rate | best peer | ratio | all peers |",
        "|---|---|---|---|---|---|",
    ]
    for case in cases:
        ours = measure(case.ours, 1)
        verdict, listing = compare(case, ours, {name: measure(call, 1) for name, call in case.peers.items()})
        lines.append(f"| {case.name} | {ours:.3f} | {rate(case, ours)} | {verdict} | {listing} |")
        print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    return text


def growth(title: str, makers: dict[str, Callable[[int], Call]], sizes: tuple[int, ...] = GROWTH_SIZES) -> str:
    """Time calls made for rising sizes on one thread; return (and print) a markdown table of ms and ns per item."""
    lines = [f"### {title}", "", "| operation | " + " | ".join(f"{n:,}" for n in sizes) + " |"]
    lines += ["|---" * (len(sizes) + 1) + "|"]
    for name, make in makers.items():
        times = [measure(make(size), threads=1, budget_s=BUDGET / 2) for size in sizes]
        cells = [f"{time:.2f} ms, {time * 1e6 / size:.0f} ns" for time, size in zip(times, sizes)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    return text
