"""Times an operator beside its peers in one process and prints ratios.

Every peer runs on the same inputs; the figure is the median of repeated calls after a warm-up. One thread:
CPU time of the process, which survives a busy machine. More threads: wall time. A peer that cannot be
imported is listed as absent, never silently left out.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

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


def optional(importer: Callable[[], object]) -> tuple[object | None, str]:
    """Import a peer: (module, "") or (None, reason)."""
    try:
        return importer(), ""
    except Exception as error:  # a peer may fail to import in any way
        return None, f"{type(error).__name__}: {error}".splitlines()[0][:80]


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


BUDGET = float(os.environ.get("MAE3D_BENCH_SECONDS", "2"))
"""Seconds that one figure may take; a call that alone takes longer is still made at least once."""


def measure(call: Call, threads: int, budget_s: float = BUDGET, max_calls: int = 30) -> float:
    """Median milliseconds per call; on a GPU the device is synchronised around each call."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 and not torch.cuda.is_available() else time.perf_counter
    sync = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    call()
    sync()
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < max_calls:
        spent = time.perf_counter() - start
        if times and spent > (budget_s if len(times) >= 3 else 3 * budget_s):
            break
        begin = clock()
        call()
        sync()
        times.append((clock() - begin) * 1e3)
    return statistics.median(times)


def run(title: str, cases: list[Case], threads: tuple[int, ...] = (1, 2)) -> str:
    """Time all cases and return (and print) a markdown section."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name()
    lines = [f"## {title}", "", f"{device}, torch {torch.__version__}, median ms per call, threads {threads}", ""]
    lines += ["| case | threads | mae3d | best peer | ratio | all peers |", "|---|---|---|---|---|---|"]
    for case in cases:
        for count in threads:
            ours = measure(case.ours, count)
            peers = {name: measure(call, count) for name, call in case.peers.items()}
            best = min(peers, key=peers.__getitem__) if peers else None
            listing = ", ".join(f"{name} {value:.2f}" for name, value in sorted(peers.items(), key=lambda p: p[1]))
            listing += "".join(f", {name} absent ({why})" for name, why in case.absent.items())
            verdict = f"{best} {peers[best]:.2f} | {peers[best] / ours:.2f}x" if best else "- | -"
            lines.append(f"| {case.name} | {count} | {ours:.2f} | {verdict} | {listing} |")
            print(lines[-1], flush=True)
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
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text, flush=True)
    return text
