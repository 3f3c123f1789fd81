"""One backbone, many objectives: train the same transformer on several modalities and put the runs side by side.

    python tools/compare.py configs/compare/*.py --data DIR           # DIR holds images/, audio/, text/, ...
    python tools/compare.py configs/compare/*.py --steps 400 --seeds 0 1 2
    python tools/compare.py configs/compare/*.py --minutes 2          # the same time for each instead of steps
    python tools/compare.py configs/compare/*.py --init-from images   # the others also from the blocks of images

Every row is a run of tools/train.py under OUTPUT/runs; a second call goes on where the first stopped and reuses what is
finished. The page (OUTPUT/report.html) and OUTPUT/results.json are written anew after every run. An objective without
data is simulated where there is a simulator, else left out with the reason. See docs/compare.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from comparison_page import cost_table, result_table, write_page  # noqa: E402  (beside this file)
from objectives import Objective, find_objectives, prepare  # noqa: E402
from trainings import Training, cores, run_all  # noqa: E402

from mae3d.engine.storage import make_folder, write_atomically  # noqa: E402
from mae3d.errors import ConfigError, Mae3dError, MissingExtraError  # noqa: E402
from mae3d.visualization.tables import plain_table  # noqa: E402

POINTS = 40
"""Points of a loss curve."""
ENDLESS = 10**9
"""Steps of a run that the clock ends."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", type=Path, nargs="+", help="one config an objective")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of the data (default: data)")
    parser.add_argument("--output", type=Path, default=Path("work_dirs/compare"), help="runs, results and page")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--steps", type=int, default=200, help="optimizer steps of each run (default: 200)")
    length.add_argument("--minutes", type=float, help="minutes of training of each run, instead of steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one run of every objective each")
    parser.add_argument(
        "--init-from", nargs="+", default=[], metavar="OBJECTIVE", help="whose blocks also start others"
    )
    parser.add_argument(
        "--jobs", type=int, help="runs at a time, which share the cores (default: 1 a core; 1 on a GPU)"
    )
    parser.add_argument("--amp", choices=["bf16", "fp16"], help="mixed precision")
    args = parser.parse_args(arguments)
    if args.steps < 1 or (args.minutes is not None and args.minutes <= 0):
        parser.error("--steps must be at least 1 and --minutes above 0")
    if args.jobs is not None and args.jobs < 1:
        parser.error("--jobs must be at least 1")
    args.seeds, args.init_from = (list(dict.fromkeys(values)) for values in (args.seeds, args.init_from))
    return args


def main() -> int:
    """Run what is missing; returns the exit status."""
    args = parse()
    try:
        return Comparison(args).run()
    except (Mae3dError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


class Comparison:
    """The runs of a comparison and what they measured.

    Args:
        args: Of the command line.

    Raises:
        ConfigError: The backbones are of several sizes, or ``--init-from`` names no objective that runs.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.output = make_folder(args.output, "--output")
        made = self.output / "data"
        with suppress(MissingExtraError):  # the run itself tells which package is missing
            prepare(args.data, made)
        self.objectives = find_objectives(args.configs, args.data, made)
        self.backbones = {own.name: own.backbone() for own in self.objectives}
        sizes = {name: backbone.size for name, backbone in self.backbones.items()}
        if len(set(sizes.values())) > 1:
            raise ConfigError(f"a comparison shares one backbone; (blocks, width, heads) are {sizes}")
        self.transfers = [own for name in args.init_from for own in self._transfers(name)]
        self.failures: dict[str, str] = {}

    def run(self) -> int:
        """Train, write, print; returns the exit status."""
        start = time.monotonic()
        say = lambda text: print(f"{time.monotonic() - start:5.0f} s  {text}", flush=True)  # noqa: E731
        able = [own for own in self.objectives if not own.missing]
        for own in self.objectives:
            print(f"{own.name}: {own.missing or own.about}", flush=True)
        jobs = self.args.jobs or (1 if torch.cuda.is_available() else max(1, min(cores(), len(able))))
        runs = [run for own in able for run in self.runs(own)]
        self._note(run_all(runs, jobs=jobs, say=say, done=lambda _: self.write()))
        # Only now is known which files the others start from.
        able = [own for own in self.transfers if not own.missing and self.finished(own.source)]
        runs = [run for own in able for run in self.runs(own)]
        before = {run.after.work_dir: run.after for run in runs}
        self._note(run_all([*before.values(), *runs], jobs=jobs, say=say, done=lambda _: self.write()))
        results = self.write()
        for table in (result_table(results), cost_table(results)):
            print(f"\n{plain_table(table)}")
        print(f"\n{self.output / 'report.html'}")
        return 1 if self.failures else 0

    def runs(self, own: Objective) -> list[Training]:
        """One run a seed."""
        return [own.training(self.output, self._options(), seed, self.args.amp) for seed in self.args.seeds]

    def finished(self, own: Objective) -> bool:
        """Whether all runs of an objective are there."""
        return not own.missing and all(run.finished for run in self.runs(own))

    def write(self) -> dict[str, Any]:
        """Results and page of what is finished so far; returns the results."""
        results = {"settings": self._settings(), "rows": [self._row(own) for own in self.objectives + self.transfers]}
        write_atomically(self.output / "results.json", json.dumps(results, indent=1).encode())
        write_page(self.output / "report.html", results)
        return results

    def _options(self) -> dict[str, object]:
        steps, minutes = self.args.steps, self.args.minutes
        if minutes is None:
            return {"train_cfg.max_iters": steps, "default_hooks.logger.interval": max(1, steps // POINTS)}
        limit = {"type": "TimeLimitHook", "minutes": minutes, "interval": 1}
        values = {f"default_hooks.time_limit.{name}": value for name, value in limit.items()}
        return {"train_cfg.max_iters": ENDLESS, **values}

    def _transfers(self, name: str) -> list[Objective]:
        """Every other objective on the blocks of one."""
        source = next((own for own in self.objectives if own.name == name and not own.missing), None)
        if source is None:
            known = [own.name for own in self.objectives if not own.missing]
            raise ConfigError(f"--init-from {name}: no objective of that name runs; there are {', '.join(known)}")
        others = [own for own in self.objectives if own is not source and not own.missing]
        unlike = {own.name: self.backbones[own.name].difference(self.backbones[name]) for own in others}
        return [own.started_from(source, unlike[own.name]) for own in others]

    def _note(self, errors: list[Exception]) -> None:
        for error in errors:
            print(error, file=sys.stderr)
            self.failures[str(error).partition(" failed")[0]] = str(error).strip().splitlines()[-1]

    def _row(self, own: Objective) -> dict[str, Any]:
        row = {"name": own.name, "about": own.about, "config": own.config.name, "missing": own.missing, "runs": []}
        row["init_from"] = own.source.name if own.source else None
        if own.missing or (own.source and not self.finished(own.source)):
            return row
        runs = self.runs(own)
        failed = [self.failures[run.name] for run in runs if run.name in self.failures]
        row["missing"] = failed[0] if failed else ""
        finished = [measured(run) for run in runs if run.finished]
        row["runs"] = [run for run in finished if run["loss"]]
        if len(row["runs"]) < len(finished):
            row["missing"] = "ended before a loss was logged; allow more --minutes"
        return row

    def _settings(self) -> dict[str, Any]:
        backbone = next(iter(self.backbones.values()))
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
        return {
            "backbone": dict(zip(("blocks", "width", "heads"), backbone.size)),
            "steps": None if self.args.minutes else self.args.steps,
            "minutes": self.args.minutes,
            "seeds": self.args.seeds,
            "precision": self.args.amp or "float32",
            "device": f"{device}, {cores()} CPU cores, torch {torch.__version__}",
        }


def measured(run: Training) -> dict[str, Any]:
    """What one finished run logged and cost."""
    curves = run.curves()
    probes = {name: points for name, points in curves.items() if name.startswith("probe/")}
    return {
        "seed": run.seed,
        "loss": curves.get("loss", []),
        "probes": {name.removeprefix("probe/"): [points[0][1], points[-1][1]] for name, points in probes.items()},
        "cost": json.loads((run.work_dir / "cost.json").read_text()),
    }


if __name__ == "__main__":
    sys.exit(main())
