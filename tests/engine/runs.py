"""Start the real command line in other processes and read what it logged."""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "tests" / "engine" / "config_small.py"
TRAIN = "tools/train.py"
_PATIENCE = 900
"""Seconds after which a process is given up; a loaded machine is no failure."""

# A process of its own takes six seconds to import torch and mmengine. Runs are forked from one that did so already
# (and did nothing else), under the environment that it was started with.
_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["mae3d.engine.run", "mae3d.models", "mae3d.datasets"])


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}


class Run:
    """A running command line; its output can be read from ``stdout`` line by line."""

    def __init__(self, tool: str, arguments: Sequence[str], variables: dict[str, str]) -> None:
        reading, writing = _SERVER.Pipe(duplex=False)
        self.process = _SERVER.Process(target=_become, args=(tool, list(arguments), variables, writing))
        before = dict(os.environ)
        os.environ.update(variables)
        try:
            self.process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        writing.close()
        self.stdout = os.fdopen(os.dup(reading.fileno()), errors="replace")
        reading.close()

    def finish(self, timeout: float = _PATIENCE) -> tuple[int, str]:
        """Wait for the end -> exit status (negative: the signal that ended it), the rest of the output."""
        output = self.stdout.read()
        self.process.join(timeout)
        if self.process.exitcode is None:
            self.process.kill()
            raise TimeoutError(output[-4000:])
        return self.process.exitcode, output


def _become(tool: str, arguments: list[str], variables: dict[str, str], output) -> None:
    """Turn this fresh fork into ``python <tool> <arguments>``."""
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    output.close()
    sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    os.environ.update(variables)
    os.chdir(ROOT)
    sys.argv = [tool, *arguments]
    runpy.run_path(tool, run_name="__main__")


def start(*arguments: str, tool: str = TRAIN, **variables: str) -> Run:
    """Start a run."""
    return Run(tool, arguments, environment(**variables))


def run(*arguments: str, check: bool = True, **options: str) -> str:
    """Run to the end and return the output."""
    status, output = start(*arguments, **options).finish()
    assert not check or status == 0, output[-4000:]
    return output


def run_processes(*arguments: str, processes: int = 2) -> str:
    """Run the processes that torchrun would start on this machine, and return the output of the first."""
    port = str(free_port())
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        start(*arguments, "--launcher", "pytorch", RANK=rank, LOCAL_RANK=rank, **group)
        for rank in map(str, range(processes))
    ]
    results = [one.finish() for one in ranks]
    assert all(status == 0 for status, _ in results), "\n".join(output[-4000:] for _, output in results)
    return results[0][1]


def in_processes(function: Callable[..., None], processes: int, *arguments) -> None:
    """Call ``function(rank, processes, *arguments)`` in processes of their own, and wait for all of them."""
    started = [_SERVER.Process(target=function, args=(rank, processes, *arguments)) for rank in range(processes)]
    for process in started:
        process.start()
    for process in started:
        process.join(_PATIENCE)
    assert [process.exitcode for process in started] == [0] * processes


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def logged(work_dir: Path, name: str = "loss") -> dict[int, float]:
    """Read a training scalar by iteration from every log of a work directory (later starts win)."""
    found = {}
    for path in sorted(work_dir.glob("*/vis_data/scalars.json"), key=lambda file: file.stat().st_mtime):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            if name in entry and "iter" in entry:
                found[entry["iter"]] = entry[name]
    return found
