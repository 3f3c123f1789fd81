"""What the studies on simulated drives share: command line, trainings side by side, tables over seeds, the page."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from drives import STARTS, Drives, Plan  # noqa: E402  (beside this file)
from trainings import Training, cores, run_all  # noqa: E402

from mae3d.engine.storage import make_folder  # noqa: E402
from mae3d.errors import Mae3dError  # noqa: E402
from mae3d.models.heads.detection.presets import NUSCENES_CLASSES  # noqa: E402
from mae3d.visualization.tables import markdown_table, plain_table  # noqa: E402

Row = tuple[Hashable, str]


class Study(ABC):
    """Trainings that differ in one thing and in their start, and the tables that they fill.

    Args:
        drives: Data and plan, which all trainings share.
        groups: What is compared; each is trained from every start.
        seeds: Of the detectors.
    """

    title: str
    group: str
    """Head of the column that names the group."""
    pair: str
    """What a pre-trained detector and the one from random weights beside it have in common."""

    def __init__(self, drives: Drives, groups: Sequence[Hashable], seeds: Sequence[int]) -> None:
        self.data, self.groups, self.seeds = drives, groups, seeds

    @abstractmethod
    def run_of(self, row: Row, seed: int) -> Training:
        """The fine-tuning behind one number."""

    @abstractmethod
    def trainings(self) -> list[Training]:
        """All of them, what is to be seen first in front."""

    @abstractmethod
    def about(self) -> str:
        """What the page says before its tables."""

    def starts(self, group: Hashable) -> Sequence[str]:
        """What the detectors of a group start from."""
        return list(STARTS)

    def label(self, group: Hashable) -> str:
        """Its name in the tables."""
        return str(group)

    def named(self, row: Row) -> dict[str, str]:
        """Column -> cell of what names a row of the summary."""
        return self._name(row)

    def further(self, row: Row) -> dict[str, str]:
        """Column -> cell of what the summary holds beside mAP and NDS."""
        return {}

    def further_tables(self) -> dict[str, list[list[str]]]:
        """Caption -> table of what the page holds after the AP of the classes."""
        return {}

    def run(self, report: Path, jobs: int) -> int:
        """Simulate, train, write the report; returns the exit status."""
        start = time.monotonic()
        self.data.simulate(workers=cores())
        print(f"data under {self.data.root}: {time.monotonic() - start:.0f} s", flush=True)
        say = lambda text: print(f"{time.monotonic() - start:5.0f} s  {text}", flush=True)  # noqa: E731
        errors = run_all(self.trainings(), jobs=jobs, say=say, done=lambda _: self.write(report))
        print(plain_table(self.summary()))
        print(f"report: {report}")
        for error in errors:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1 if errors else 0

    def rows(self) -> list[Row]:
        """(group, start) of each line of the tables."""
        return [(group, start) for group in self.groups for start in self.starts(group)]

    def values(self, row: Row, metric: str) -> np.ndarray:
        """A metric of the seeds that are finished, in percent unless it is an error."""
        runs = [self.run_of(row, seed) for seed in self.seeds]
        return np.array([score(run.metrics(), metric) for run in runs if run.finished])

    def summary(self) -> list[list[str]]:
        """mAP and NDS: mean, deviation over seeds, and every seed."""
        body = []
        for row in self.rows():
            scores = {metric: self.values(row, metric) for metric in ("mAP", "NDS")}
            means = {metric: spread(values) for metric, values in scores.items()}
            seeds = {f"{metric} by seed": each(values) for metric, values in scores.items()}
            body.append({**self.named(row), **means, **self.further(row), **seeds})
        return table(body)

    def gains(self) -> list[list[str]]:
        """Pre-trained minus random weights, pair by pair."""
        body = []
        for group in self.groups:
            pairs = [[self.run_of((group, start), seed) for start in STARTS] for seed in self.seeds]
            pairs = [[run.metrics() for run in pair] for pair in pairs if all(run.finished for run in pair)]
            gains = {m: np.array([score(b, m) - score(a, m) for a, b in pairs]) for m in ("mAP", "NDS")}
            means = {metric: spread(values) for metric, values in gains.items()}
            seeds = {f"{metric} by seed": each(values, "+") for metric, values in gains.items()}
            body.append({self.group: self.label(group), **means, **seeds})
        return table(body)

    def by_class(self) -> list[list[str]]:
        """Mean AP of every class."""
        return self.means({name: f"AP_{name}" for name in NUSCENES_CLASSES})

    def means(self, metrics: Mapping[str, str], digits: int = 1) -> list[list[str]]:
        """Means over the seeds: column -> metric."""
        return table(
            [
                {**self._name(row), **{head: mean(self.values(row, m), digits) for head, m in metrics.items()}}
                for row in self.rows()
            ]
        )

    def write(self, path: Path) -> None:
        """The page."""
        tables = {
            f"Pre-trained minus random weights of the same {self.pair}:": self.gains(),
            "AP by class, mean over seeds and the four distances:": self.by_class(),
            **self.further_tables(),
        }
        plan = self.data.plan
        parts = [f"# {self.title}", self.about(), markdown_table(self.summary())]
        parts += [part for caption, rows in tables.items() for part in (caption, markdown_table(rows))]
        parts.append(f"Seeds: {', '.join(map(str, self.seeds))}. {hardware(plan)}{changed(plan)}")
        path.write_text("\n\n".join(parts) + "\n")

    def _name(self, row: Row) -> dict[str, str]:
        return {self.group: self.label(row[0]), "start": row[1]}


def command_line(description: str, sizes: Mapping[str, Plan], folder: str, seeds: str) -> argparse.ArgumentParser:
    """The options of every study.

    Args:
        description: Of the tool.
        sizes: Choices of ``--size``.
        folder: Begins the name of the default output.
        seeds: Help of ``--seeds``.
    """
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form)
    parser.add_argument("--size", choices=sorted(sizes), default="cpu", help="data and schedules")
    parser.add_argument("--output", type=Path, help=f"data and runs (default: work_dirs/{folder}-SIZE)")
    parser.add_argument("--report", type=Path, help="Markdown page (default: study.md in OUTPUT)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help=seeds)
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--amp", choices=["bf16", "fp16"], help="mixed precision")
    parser.add_argument("--pretrain-steps", type=int, help="instead of the size's")
    parser.add_argument("--fine-tune-steps", type=int, help="instead of the size's")
    return parser


def plan_of(args: argparse.Namespace, sizes: Mapping[str, Plan], **changes: Any) -> Plan:
    """What the command line asks for."""
    steps = {"pretrain_steps": args.pretrain_steps, "fine_tune_steps": args.fine_tune_steps}
    changes |= {name: count for name, count in steps.items() if count is not None}
    return replace(sizes[args.size], amp=args.amp, **changes)


def output_of(args: argparse.Namespace, folder: str) -> Path:
    """Folder of data and runs."""
    return args.output or Path("work_dirs") / f"{folder}-{args.size}"


def conduct(study: Study, args: argparse.Namespace, output: Path) -> int:
    """Run what is missing; returns the exit status."""
    try:
        make_folder(output, "--output")
        report = args.report or output / "study.md"
        make_folder(report.parent, "--report")
        return study.run(report, args.jobs)
    except (Mae3dError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def score(metrics: Mapping[str, float], metric: str) -> float:
    """A metric of a run, in percent; mean errors (mATE and the like) have units of their own."""
    error = metric.startswith("m") and metric.endswith("E")
    return (1 if error else 100) * metrics[f"nuscenes/{metric}"]


def table(rows: Sequence[Mapping[str, str]]) -> list[list[str]]:
    """Head and lines of rows that have the same columns."""
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def spread(values: np.ndarray) -> str:
    """Mean and standard deviation (of a sample) of what is there."""
    if not len(values):
        return "-"
    return f"{values.mean():.1f}" + (f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else "")


def mean(values: np.ndarray, digits: int = 1) -> str:
    """Mean of what is there; classes without ground truth have none."""
    return f"{values.mean():.{digits}f}" if len(values) else "-"


def each(values: np.ndarray, sign: str = "") -> str:
    """Every value."""
    return ", ".join(f"{value:{sign}.1f}" for value in values) or "-"


def hardware(plan: Plan) -> str:
    """What it ran on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return f"{device}, {cores()} CPU cores, torch {torch.__version__}, {plan.amp or 'float32'}."


def changed(plan: Plan) -> str:
    """The config values that this study set."""
    options = {"pre-training": plan.pretrain_options, "fine-tuning": plan.fine_tune_options}
    return "".join(f" Changed in {name}: `{values}`." for name, values in options.items() if values)
