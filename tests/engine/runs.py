"""Start the real command line in other processes and read what it logged."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "tests" / "engine" / "config_small.py"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", **more}


def start(*arguments: str, program: tuple[str, ...] = ("tools/train.py",), **more: str) -> subprocess.Popen:
    """Start a run; its output can be read from ``stdout``."""
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=ROOT,
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(*arguments: str, timeout: float = 120, check: bool = True, **options) -> str:
    """Run to the end and return the output."""
    process = start(*arguments, **options)
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert not check or process.returncode == 0, output[-4000:]
    return output


def torchrun(*arguments: str, processes: int = 2, **options) -> str:
    """Run under torchrun on this machine."""
    program = ("-m", "torch.distributed.run", "--nproc-per-node", str(processes), f"--master-port={free_port()}")
    return run("tools/train.py", *arguments, "--launcher", "pytorch", program=program, **options)


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
