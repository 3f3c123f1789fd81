"""Is an earlier frame worth it? T-MAE, GD-MAE, Voxel-MAE and random weights on simulated drives.

    python tools/temporal_study.py                                    # 2 CPU cores: hours
    python tools/temporal_study.py --size gpu --jobs 8 --amp bf16     # one GPU and 16 CPU cores: minutes
    python tools/temporal_study.py --size smoke --seeds 0             # all of it once; the numbers mean nothing

Every system is pre-trained once on all frames, without labels. Its detector is trained with the labels, one run a seed,
from the pre-trained and from random weights. Voxel-MAE and GD-MAE see single sweeps, T-MAE also the one a quarter of a
second before; the detectors differ in their encoders alone. Every training is a run of tools/train.py under
OUTPUT/runs; an interrupted study goes on where it stopped, and the report is written anew after every training.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from drives import FINE_TUNE, PRETRAIN, Drives, Plan, System  # noqa: E402  (beside this file)
from study import each, hardware, mean, spread  # noqa: E402
from trainings import Training, cores, run_all  # noqa: E402

from mae3d.errors import Mae3dError  # noqa: E402
from mae3d.models.heads.detection.presets import NUSCENES_CLASSES  # noqa: E402
from mae3d.visualization.tables import markdown_table, plain_table  # noqa: E402

SWEEPS = 6
CONFIGS = ROOT / "configs"
SINGLE = {"sweeps": 1, "features": "[intensity]"}
SYSTEMS = {
    "Voxel-MAE": System("voxel-mae", PRETRAIN, FINE_TUNE, SINGLE, sweeps=SWEEPS),
    "GD-MAE": System(
        "gd-mae",
        CONFIGS / "gd_mae" / "gd-mae_tiny_20e_simulated-drives.py",
        CONFIGS / "detection" / "gd-mae_tiny_20e_simulated-drives.py",
        warm_up=False,
        sweeps=SWEEPS,
    ),
    "T-MAE": System(
        "t-mae",
        CONFIGS / "t_mae" / "t-mae_tiny_20e_simulated-drives.py",
        CONFIGS / "detection" / "t-mae_tiny_20e_simulated-drives.py",
        warm_up=False,
        sweeps=SWEEPS,
    ),
}
SIZES = {
    "smoke": Plan((9, 1), 2, pretrain_steps=2, fine_tune_steps=2, batch_size=1),
    "cpu": Plan((25, 6), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=2),
    "gpu": Plan((50, 12), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=8, workers=1),
}
STARTS = {"random weights": False, "pre-trained": True}
METRICS = ("mAP", "NDS", "mAVE")
Row = tuple[str, str]


def main() -> int:
    """Run what is missing; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--size", choices=sorted(SIZES), default="cpu", help="data and schedules")
    parser.add_argument("--output", type=Path, help="data and runs (default: work_dirs/temporal-SIZE)")
    parser.add_argument("--report", type=Path, help="Markdown page (default: study.md in OUTPUT)")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), help="what is compared")
    parser.add_argument("--labels", type=int, default=100, help="percent of labelled frames")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the detectors")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--amp", choices=["bf16", "fp16"], help="mixed precision")
    parser.add_argument("--pretrain-steps", type=int, help="instead of the size's")
    parser.add_argument("--fine-tune-steps", type=int, help="instead of the size's")
    args = parser.parse_args()
    output = args.output or Path("work_dirs") / f"temporal-{args.size}"
    steps = {"pretrain_steps": args.pretrain_steps, "fine_tune_steps": args.fine_tune_steps}
    plan = replace(SIZES[args.size], amp=args.amp, **{name: n for name, n in steps.items() if n is not None})
    study = TemporalStudy({name: Drives(output, plan, SYSTEMS[name]) for name in args.systems}, args.labels, args.seeds)
    try:
        return study.run(args.report or output / "study.md", args.jobs)
    except (Mae3dError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


class TemporalStudy:
    """All trainings and the tables that they fill.

    Args:
        drives: System -> its data and trainings; all share one data set.
        labels: Percent of labelled frames.
        seeds: Of the detectors.
    """

    def __init__(self, drives: dict[str, Drives], labels: int, seeds: list[int]) -> None:
        self.drives, self.labels, self.seeds = drives, labels, seeds
        self.rows: list[Row] = [(system, start) for system in drives for start in STARTS]

    def run(self, report: Path, jobs: int) -> int:
        """Simulate, train, write the report; returns the exit status."""
        start = time.monotonic()
        next(iter(self.drives.values())).simulate(workers=cores())
        print(f"data: {time.monotonic() - start:.0f} s", flush=True)
        say = lambda text: print(f"{time.monotonic() - start:5.0f} s  {text}", flush=True)  # noqa: E731
        first = [drives.pretraining(0) for drives in self.drives.values()]
        scratch = [self.run_of(row, seed) for seed in self.seeds for row in self.rows if not STARTS[row[1]]]
        rest = [self.run_of(row, seed) for seed in self.seeds for row in self.rows if STARTS[row[1]]]
        errors = run_all([*first, *scratch, *rest], jobs=jobs, say=say, done=lambda _: self.write(report))
        print(plain_table(self.summary()))
        print(f"report: {report}")
        for error in errors:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1 if errors else 0

    def run_of(self, row: Row, seed: int) -> Training:
        """The detector behind one number."""
        system, start = row
        return self.drives[system].fine_tuning(self.labels, seed, STARTS[start], pretrain_seed=0)

    def values(self, row: Row, metric: str) -> np.ndarray:
        """A metric of the seeds that are finished; AP and NDS in percent."""
        runs = [self.run_of(row, seed) for seed in self.seeds]
        scale = 1 if metric.startswith("m") and metric.endswith("E") else 100
        return scale * np.array([run.metrics()[f"nuscenes/{metric}"] for run in runs if run.finished])

    def summary(self) -> list[list[str]]:
        """mAP, NDS and error of velocity: mean and deviation over seeds, and every seed."""
        head = ["system", "start", "mAP", "NDS", "mAVE, m/s", "mAP by seed", "NDS by seed"]
        body = []
        for row in self.rows:
            scores = [self.values(row, metric) for metric in METRICS]
            velocity = f"{scores[2].mean():.2f}" if len(scores[2]) else "-"
            body.append([*row, *map(spread, scores[:2]), velocity, *map(each, scores[:2])])
        return [head, *body]

    def gains(self) -> list[list[str]]:
        """Pre-trained minus random weights of the same system and seed."""
        body = []
        for system in self.drives:
            pairs = [[self.run_of((system, start), seed) for start in STARTS] for seed in self.seeds]
            pairs = [[run.metrics() for run in pair] for pair in pairs if all(run.finished for run in pair)]
            gain = [100 * np.array([b[f"nuscenes/{m}"] - a[f"nuscenes/{m}"] for a, b in pairs]) for m in METRICS[:2]]
            body.append([system, *map(spread, gain), *(each(value, "+") for value in gain)])
        return [["system", "mAP", "NDS", "mAP by seed", "NDS by seed"], *body]

    def by_class(self) -> list[list[str]]:
        """Mean AP of every class."""
        body = [[*row, *(mean(self.values(row, f"AP_{name}")) for name in NUSCENES_CLASSES)] for row in self.rows]
        return [["system", "start", *NUSCENES_CLASSES], *body]

    def write(self, path: Path) -> None:
        """The page."""
        some = next(iter(self.drives.values()))
        plan = some.plan
        parts = [
            "# An earlier frame: T-MAE beside GD-MAE and Voxel-MAE on simulated drives",
            f"`tools/temporal_study.py`, written by it. {plan.scenes[0]} training and {plan.scenes[1]} validation "
            f"scenes of {plan.frames} key frames, simulated in nuScenes' layout. Each system is pre-trained once, "
            f"{plan.pretrain_steps} steps of {plan.batch_size} frames without labels, its detector trained for "
            f"{plan.fine_tune_steps} steps on {some.count(self.labels)} labelled frames ({self.labels} %), with one "
            "schedule and one head; the last epoch is scored on the validation scenes by the nuScenes metric. "
            "Voxel-MAE and GD-MAE see single sweeps; T-MAE also the sweep 0.25 s before, moved by the poses, in "
            "pre-training, fine-tuning and evaluation, so its rows differ from the others in the input, not in "
            "pre-training alone. Mean and standard deviation over the detectors' seeds, in percent.",
            markdown_table(self.summary()),
            "Pre-trained minus random weights of the same system and seed:",
            markdown_table(self.gains()),
            "AP by class, mean over seeds and the four distances:",
            markdown_table(self.by_class()),
            f"Seeds: {', '.join(map(str, self.seeds))}. {hardware(plan)}",
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join(parts) + "\n")


if __name__ == "__main__":
    sys.exit(main())
