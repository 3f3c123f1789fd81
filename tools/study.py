"""Is pre-training worth it? Voxel-MAE against random weights on simulated drives, by share of labels and seed.

    python tools/study.py                                    # 2 CPU cores: some hours
    python tools/study.py --size gpu --jobs 8                # one GPU and 16 CPU cores: minutes
    python tools/study.py --size smoke --seeds 0             # all of it once; the numbers mean nothing

Every training is a run of tools/train.py under OUTPUT/runs. An interrupted study goes on where it stopped; the report
(--report) is written anew after every training, from what is finished.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mmengine.config import DictAction

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from drives import FINE_TUNE, PRETRAIN, Drives, Plan  # noqa: E402  (beside this file)
from trainings import Training, cores, run_all  # noqa: E402

from mae3d.errors import Mae3dError  # noqa: E402
from mae3d.models.heads.detection.presets import NUSCENES_CLASSES  # noqa: E402
from mae3d.visualization.tables import markdown_table, plain_table  # noqa: E402

SIZES = {
    "smoke": Plan((9, 1), 4, pretrain_steps=2, fine_tune_steps=2, batch_size=1),
    "cpu": Plan((25, 6), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=2),
    "gpu": Plan((100, 25), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=8, workers=1),
}
STARTS = {"random weights": False, "pre-trained": True}


def main() -> int:
    """Run what is missing; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--size", choices=sorted(SIZES), default="cpu", help="data and schedules")
    parser.add_argument("--output", type=Path, help="data and runs (default: work_dirs/study-SIZE)")
    parser.add_argument("--report", type=Path, help="Markdown page (default: study.md in OUTPUT)")
    parser.add_argument("--labels", type=int, nargs="+", default=[5, 20, 100], help="percent of labelled frames")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one pre-training each")
    parser.add_argument(
        "--longer", type=int, nargs="*", default=[], help="percents with a scratch run of twice the length"
    )
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--amp", choices=["bf16", "fp16"], help="mixed precision")
    parser.add_argument("--pretrain-steps", type=int, help="instead of the size's")
    parser.add_argument("--fine-tune-steps", type=int, help="instead of the size's")
    values = {"nargs": "+", "action": DictAction, "default": {}, "metavar": "KEY=VALUE"}
    parser.add_argument("--pretrain-options", **values, help="config values of every pre-training")
    parser.add_argument("--fine-tune-options", **values, help="config values of every fine-tuning")
    args = parser.parse_args()
    output = args.output or Path("work_dirs") / f"study-{args.size}"
    steps = {"pretrain_steps": args.pretrain_steps, "fine_tune_steps": args.fine_tune_steps}
    changes = {name: count for name, count in steps.items() if count is not None}
    changes |= {"pretrain_options": args.pretrain_options, "fine_tune_options": args.fine_tune_options}
    study = Study(Drives(output, replace(SIZES[args.size], amp=args.amp, **changes)), args)
    try:
        return study.run(args.report or output / "study.md", args.jobs)
    except (Mae3dError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


class Study:
    """All trainings of a study and the tables that they fill.

    Args:
        drives: Data and trainings.
        args: ``labels``, ``seeds`` and ``longer`` of the command line.
    """

    def __init__(self, drives: Drives, args: argparse.Namespace) -> None:
        self.drives = drives
        self.labels, self.seeds, self.longer = args.labels, args.seeds, args.longer

    def run(self, report: Path, jobs: int) -> int:
        """Simulate, train, write the report; returns the exit status."""
        start = time.monotonic()
        self.drives.simulate(workers=cores())
        print(f"data under {self.drives.root}: {time.monotonic() - start:.0f} s", flush=True)
        say = lambda text: print(f"{time.monotonic() - start:5.0f} s  {text}", flush=True)  # noqa: E731
        trainings = [self.drives.pretraining(seed) for seed in self.seeds]
        trainings += [self.run_of(row, seed) for seed in self.seeds for row in self.rows()]
        errors = run_all(trainings, jobs=jobs, say=say, done=lambda _: self.write(report))
        print(plain_table(self.summary()))
        print(f"report: {report}")
        for error in errors:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1 if errors else 0

    def rows(self) -> list[tuple[int, str]]:
        """(percent, start) of each line of the tables."""
        starts = {
            percent: [*STARTS, *(["random weights, twice as long"] if percent in self.longer else [])]
            for percent in self.labels
        }
        return [(percent, name) for percent in self.labels for name in starts[percent]]

    def run_of(self, row: tuple[int, str], seed: int) -> Training:
        """The fine-tuning behind one number."""
        percent, start = row
        length = 1.0 if start in STARTS else 2.0
        return self.drives.fine_tuning(percent, seed, STARTS.get(start, False), length)

    def values(self, row: tuple[int, str], metric: str) -> np.ndarray:
        """A metric in percent, of the seeds that are finished."""
        runs = [self.run_of(row, seed) for seed in self.seeds]
        return 100 * np.array([run.metrics()[f"nuscenes/{metric}"] for run in runs if run.finished])

    def summary(self) -> list[list[str]]:
        """mAP and NDS: mean, deviation over seeds, and every seed."""
        head = ["labels", "frames", "start", "mAP", "NDS", "mAP by seed", "NDS by seed"]
        body = []
        for percent, start in self.rows():
            scores = [self.values((percent, start), metric) for metric in ("mAP", "NDS")]
            own = [f"{percent} %", str(self.drives.count(percent)), start]
            body.append([*own, *map(spread, scores), *map(each, scores)])
        return [head, *body]

    def by_class(self) -> list[list[str]]:
        """Mean AP of every class."""
        head = ["labels", "start", *NUSCENES_CLASSES]
        names = [f"AP_{name}" for name in NUSCENES_CLASSES]
        return [
            head,
            *([f"{row[0]} %", row[1], *(mean(self.values(row, name)) for name in names)] for row in self.rows()),
        ]

    def errors(self) -> list[list[str]]:
        """Mean true-positive errors (not in percent)."""
        names = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
        body = [
            [f"{row[0]} %", row[1], *(mean(self.values(row, name) / 100, 3) for name in names)] for row in self.rows()
        ]
        return [["labels", "start", *names], *body]

    def gains(self) -> list[list[str]]:
        """Pre-trained minus random weights of the same seed."""
        body = []
        for percent in self.labels:
            pairs = [[self.run_of((percent, name), seed) for name in STARTS] for seed in self.seeds]
            pairs = [(a.metrics(), b.metrics()) for a, b in pairs if a.finished and b.finished]
            gain = [
                np.array([100 * (b[f"nuscenes/{m}"] - a[f"nuscenes/{m}"]) for a, b in pairs]) for m in ("mAP", "NDS")
            ]
            body.append([f"{percent} %", *map(spread, gain), *(each(value, "+") for value in gain)])
        return [["labels", "mAP", "NDS", "mAP by seed", "NDS by seed"], *body]

    def write(self, path: Path) -> None:
        """The page."""
        plan = self.drives.plan
        parts = [
            "# Voxel-MAE on simulated drives: is pre-training worth it?",
            f"`tools/study.py`, written by it. {plan.scenes[0]} training and {plan.scenes[1]} validation scenes of "
            f"{plan.frames} key frames, simulated in nuScenes' layout; two sweeps a frame. Voxel-MAE "
            f"(`{PRETRAIN.name}`) is pre-trained on all training frames without labels, {plan.pretrain_steps} steps of "
            f"{plan.batch_size} frames. The detector (`{FINE_TUNE.name}`) is trained for {plan.fine_tune_steps} steps "
            f"of {plan.batch_size} frames on every n-th labelled frame in order of time (the published rule), from "
            "the pre-trained or from random weights, with the same schedule, data and seed; the last epoch is scored "
            "on the validation scenes by the nuScenes metric. Mean and standard deviation over seeds, in percent.",
            markdown_table(self.summary()),
            "Pre-trained minus random weights of the same seed:",
            markdown_table(self.gains()),
            "AP by class, mean over seeds and the four distances:",
            markdown_table(self.by_class()),
            "Mean errors of true positives (m, 1 - IoU, rad, m/s, 1 - accuracy):",
            markdown_table(self.errors()),
            f"Seeds: {', '.join(map(str, self.seeds))}. {hardware(plan)}{changed(plan)}",
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(parts) + "\n")


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


if __name__ == "__main__":
    sys.exit(main())
