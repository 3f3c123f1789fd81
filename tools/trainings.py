"""Trainings as `tools/train.py` runs them, one process each, for tools that need several and their results."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from mae3d.engine.config import load_config
from mae3d.engine.storage import find_checkpoint
from mae3d.errors import Mae3dError
from mae3d.visualization.curves import read_scalars

ROOT = Path(__file__).resolve().parent.parent
Say = Callable[[str], None]


class TrainingError(Mae3dError):
    """A training process ended with an error; the message holds the end of what it said."""


@dataclass(frozen=True)
class Training:
    """One run of a config, finished once and then reused.

    Attributes:
        name: For messages.
        config: Config file.
        work_dir: Where it writes.
        options: ``--cfg-options``, key -> value.
        seed: Seed of the run.
        amp: Precision of ``--amp``, None for float32.
        after: The training that this one starts from, which must be finished before.
    """

    name: str
    config: Path
    work_dir: Path
    options: dict[str, object] = field(default_factory=dict)
    seed: int = 0
    amp: str | None = None
    after: Training | None = None

    @property
    def finished(self) -> bool:
        """Whether the run is there, with these settings."""
        noted = self.work_dir / "settings.json"
        return self._finished.is_file() and noted.read_text() == self._noted()

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint of the run.

        Raises:
            TrainingError: There is none.
        """
        path = find_checkpoint(self.work_dir)
        if path is None:
            raise TrainingError(f"{self.name}: no checkpoint under {self.work_dir}")
        return path

    def seconds(self) -> float:
        """How long the run took when it was made, without interrupted starts."""
        return json.loads(self._finished.read_text())["seconds"]

    def metrics(self) -> dict[str, float]:
        """What the last validation gave (the config needs a ``MetricRecordHook``)."""
        history = json.loads((self.work_dir / "metrics.json").read_text())["history"]
        return history[max(history, key=int)]

    def scalars(self) -> list[Path]:
        """The scalars files of all starts of the run, oldest first."""
        return sorted(self.work_dir.glob("*/vis_data/scalars.json"))

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Scalars of all starts, name -> [(step, value)]; where starts overlap the later one counts."""
        joined: dict[str, dict[int, float]] = {}
        for path in self.scalars():
            for name, points in read_scalars(path).items():
                joined.setdefault(name, {}).update(points)
        return {name: sorted(points.items()) for name, points in joined.items()}

    def run(self, say: Say = print, threads: int | None = None) -> bool:
        """Train, or go on where an interrupted run stopped; returns False where it was finished before.

        A folder of a run with other settings is emptied first.

        Args:
            say: Told each progress line of the run.
            threads: CPU threads of the process; None leaves it to torch.

        Raises:
            TrainingError: The training failed.
        """
        if self.finished:
            return False
        noted = self.work_dir / "settings.json"
        if noted.is_file() and noted.read_text() != self._noted():
            shutil.rmtree(self.work_dir)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        noted.write_text(self._noted())
        start = time.monotonic()
        self._follow(say, threads)
        self._finished.write_text(json.dumps({"seconds": time.monotonic() - start}))
        return True

    def _noted(self) -> str:
        return json.dumps(self._settings(), indent=2)

    def _settings(self) -> dict[str, object]:
        """What the result depends on."""
        options = {key: str(value) for key, value in self.options.items()}
        before = self.after._settings() if self.after else None
        settings = {"config": self.config.name, "content": _fingerprint(self.config), "options": options}
        return {**settings, "seed": self.seed, "amp": self.amp, "after": before}

    @property
    def _finished(self) -> Path:
        return self.work_dir / "finished.json"

    def _command(self) -> list[str]:
        command = [sys.executable, str(ROOT / "tools" / "train.py"), str(self.config)]
        command += ["--work-dir", str(self.work_dir.resolve()), "--resume", "--seed", str(self.seed)]
        command += ["--amp", self.amp] if self.amp else []
        return [*command, "--cfg-options", *(f"{key}={value}" for key, value in self.options.items())]

    def _follow(self, say: Say, threads: int | None) -> None:
        limits = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        said = []
        with subprocess.Popen(self._command(), cwd=ROOT, env={**os.environ, **limits}, **streams) as process:
            for line in process.stdout:
                said.append(line)
                if "(train)" in line:  # of epochs or of iterations
                    say(f"{self.name}: {line.split('(train)')[1].strip()}")
        if process.returncode:
            raise TrainingError(f"{self.name} failed, its files are under {self.work_dir}\n{''.join(said[-40:])}")


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _fingerprint(config: Path) -> str:
    return hashlib.sha256(load_config(config).pretty_text.encode()).hexdigest()[:16]


def run_all(
    trainings: Sequence[Training],
    *,
    jobs: int,
    say: Say = print,
    follow: Say = lambda _: None,
    done: Callable[[Training], None] = lambda _: None,
) -> list[TrainingError]:
    """Run trainings side by side and return the errors of those that failed; what comes after a failed one is left out.

    Args:
        trainings: Whenever there is room, the first that has not begun and whose ``after`` is finished starts.
        jobs: Processes at a time; they share the CPU threads.
        say: Told when a training is finished.
        follow: Told each progress line of every training.
        done: Called with each finished training, in this thread.
    """
    threads = max(1, cores() // jobs)
    for training in trainings:
        _fingerprint(training.config)  # mmengine reads configs in one thread at a time
    waiting, running, finished, errors = list(trainings), {}, set(), []
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            ready = [t for t in waiting if t.after is None or t.after.work_dir in finished]
            for training in ready[: jobs - len(running)]:
                waiting.remove(training)
                running[pool.submit(training.run, follow, threads)] = training
            if not running:
                return errors
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                training = running.pop(future)
                try:
                    fresh = future.result()
                except TrainingError as error:
                    errors.append(error)
                    continue
                finished.add(training.work_dir)
                took = f"{training.seconds():.0f} s" if fresh else "reused"
                say(f"[{len(finished)}/{len(trainings)}] {training.name}: {took}")
                done(training)
