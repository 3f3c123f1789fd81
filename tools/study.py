"""Is pre-training worth it? Voxel-MAE against random weights on simulated drives, by share of labels and seed.

    python tools/study.py                                    # 2 CPU cores: some hours
    python tools/study.py --size gpu --jobs 8                # one GPU and 16 CPU cores: minutes
    python tools/study.py --size smoke --seeds 0             # all of it once; the numbers mean nothing

Every training is a run of tools/train.py under OUTPUT/runs. An interrupted study goes on where it stopped; the report
(--report) is written anew after every training, from what is finished.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from drives import FINE_TUNE, PRETRAIN, STARTS, Drives, Plan, label_share  # noqa: E402  (beside this file)
from studies import Row, Study, command_line, conduct, output_of, plan_of  # noqa: E402
from trainings import Training  # noqa: E402

SIZES = {
    "smoke": Plan((9, 1), 4, pretrain_steps=2, fine_tune_steps=2, batch_size=1),
    "cpu": Plan((25, 6), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=2),
    "gpu": Plan((100, 25), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=8, workers=1),
}
LONGER = "random weights, twice as long"
ERRORS = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line(__doc__, SIZES, "study", seeds="one pre-training each")
    parser.add_argument(
        "--labels", type=label_share, nargs="+", default=[5, 20, 100], help="percent of labelled frames"
    )
    parser.add_argument(
        "--longer", type=int, nargs="*", default=[], help="percents with a scratch run of twice the length"
    )
    values = {"nargs": "+", "action": DictAction, "default": {}, "metavar": "KEY=VALUE"}
    parser.add_argument("--pretrain-options", **values, help="config values of every pre-training")
    parser.add_argument("--fine-tune-options", **values, help="config values of every fine-tuning")
    return parser.parse_args()


def main() -> int:
    """Run what is missing; returns the exit status."""
    args = parse()
    options = {"pretrain_options": args.pretrain_options, "fine_tune_options": args.fine_tune_options}
    output = output_of(args, "study")
    drives = Drives(output, plan_of(args, SIZES, **options))
    return conduct(LabelStudy(drives, args.labels, args.seeds, args.longer), args, output)


class LabelStudy(Study):
    """Shares of labels, from pre-trained and from random weights.

    Args:
        drives: Data and trainings.
        labels: Percents of labelled frames.
        seeds: One pre-training each.
        longer: Percents with a run from random weights of twice the length.
    """

    title = "Voxel-MAE on simulated drives: is pre-training worth it?"
    group = "labels"
    pair = "seed"

    def __init__(self, drives: Drives, labels: Sequence[int], seeds: Sequence[int], longer: Sequence[int] = ()) -> None:
        super().__init__(drives, labels, seeds)
        self.longer = longer

    def trainings(self) -> list[Training]:
        """Pre-trainings, then seed by seed."""
        first = [self.data.pretraining(seed) for seed in self.seeds]
        return first + [self.run_of(row, seed) for seed in self.seeds for row in self.rows()]

    def starts(self, percent: int) -> list[str]:
        """Pre-trained, random weights, and those for longer where asked for."""
        return [*STARTS, *([LONGER] if percent in self.longer else [])]

    def label(self, percent: int) -> str:
        """With its unit."""
        return f"{percent} %"

    def run_of(self, row: Row, seed: int) -> Training:
        """The fine-tuning behind one number."""
        percent, start = row
        return self.data.fine_tuning(percent, seed, STARTS.get(start, False), 2.0 if start == LONGER else 1.0)

    def named(self, row: Row) -> dict[str, str]:
        """The share, also as a number of frames."""
        percent, start = row
        return {"labels": self.label(percent), "frames": str(self.data.count(percent)), "start": start}

    def further_tables(self) -> dict[str, list[list[str]]]:
        """Mean true-positive errors."""
        errors = self.means({name: name for name in ERRORS}, digits=3)
        return {"Mean errors of true positives (m, 1 - IoU, rad, m/s, 1 - accuracy):": errors}

    def about(self) -> str:
        """Data, schedules and protocol."""
        plan = self.data.plan
        return (
            f"`tools/study.py`, written by it. {plan.scenes[0]} training and {plan.scenes[1]} validation scenes of "
            f"{plan.frames} key frames, simulated in nuScenes' layout; two sweeps a frame. Voxel-MAE "
            f"(`{PRETRAIN.name}`) is pre-trained on all training frames without labels, {plan.pretrain_steps} steps of "
            f"{plan.batch_size} frames. The detector (`{FINE_TUNE.name}`) is trained for {plan.fine_tune_steps} steps "
            f"of {plan.batch_size} frames on every n-th labelled frame in order of time (the published rule), from "
            "the pre-trained or from random weights, with the same schedule, data and seed; the last epoch is scored "
            "on the validation scenes by the nuScenes metric. Mean and standard deviation over seeds, in percent."
        )


if __name__ == "__main__":
    sys.exit(main())
