"""Is an earlier frame worth it? T-MAE, GD-MAE, Voxel-MAE and random weights on simulated drives.

    python tools/temporal_study.py                                    # 2 CPU cores: hours
    python tools/temporal_study.py --size gpu --jobs 8 --amp bf16     # one GPU and 16 CPU cores: minutes
    python tools/temporal_study.py --size smoke --seeds 0             # all of it once; the numbers mean nothing
    python tools/temporal_study.py --drive DRIVE                      # T-MAE also pre-trained on a recorded drive

Every system is pre-trained once on all frames, without labels. Its detector is trained with the labels, one run a seed,
from the pre-trained and from random weights. Voxel-MAE and GD-MAE see single sweeps, T-MAE also the one a quarter of a
second before; the detectors differ in their encoders alone. A recorded drive with poses, in the layout of
SequenceFolder, adds T-MAE pre-trained on it and fine-tuned on the simulated labels. Every training is a run of
tools/train.py under OUTPUT/runs; an interrupted study goes on where it stopped, and the report is written anew after
every training.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from drives import FINE_TUNE, PRETRAIN, STARTS, Drives, Plan, System, label_share  # noqa: E402  (beside this file)
from studies import Row, Study, command_line, conduct, mean, output_of, plan_of  # noqa: E402
from trainings import Training  # noqa: E402

from mae3d.datasets.lidar import SequenceFolder  # noqa: E402
from mae3d.engine.config import load_config  # noqa: E402
from mae3d.errors import Mae3dError  # noqa: E402

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
RECORDED = "T-MAE, recorded drive"
DRIVE_CONFIG = CONFIGS / "t_mae" / "t-mae_tiny_20e_drive.py"
SIZES = {
    "smoke": Plan((9, 1), 2, pretrain_steps=2, fine_tune_steps=2, batch_size=1),
    "cpu": Plan((25, 6), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=2),
    "gpu": Plan((50, 12), 8, pretrain_steps=800, fine_tune_steps=400, batch_size=8, workers=1),
}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = command_line(__doc__, SIZES, "temporal", seeds="of the detectors")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), help="what is compared")
    parser.add_argument("--labels", type=label_share, nargs="+", default=[20, 100], help="percent of labelled frames")
    parser.add_argument("--drive", type=Path, help="recorded drive on which T-MAE is pre-trained too")
    args = parser.parse_args()
    if args.drive and "T-MAE" not in args.systems:
        parser.error("--drive pre-trains T-MAE, which is not among --systems")
    return args


def main() -> int:
    """Run what is missing; returns the exit status."""
    args = parse()
    output, plan = output_of(args, "temporal"), plan_of(args, SIZES)
    systems = {name: Drives(output, plan, SYSTEMS[name]) for name in args.systems}
    try:
        if args.drive:
            systems[RECORDED] = RecordedDrive(output, plan, args.drive)
    except Mae3dError as error:
        print(f"--drive: {error}", file=sys.stderr)
        return 1
    return conduct(TemporalStudy(systems, args.labels, args.seeds), args, output)


class RecordedDrive(Drives):
    """The detector's data as elsewhere, the pre-training on a drive in a folder.

    Args:
        output: See :class:`Drives`.
        plan: See there.
        drive: The drive, in the layout of ``SequenceFolder``.

    Raises:
        Mae3dError: The folder holds no drive with poses, or one too short for the gaps of the pre-training's config.
    """

    def __init__(self, output: Path, plan: Plan, drive: Path) -> None:
        super().__init__(output, plan, replace(SYSTEMS["T-MAE"], name="t-mae-recorded", pretrain=DRIVE_CONFIG))
        self.drive = drive.resolve()
        pairs = load_config(DRIVE_CONFIG).train_dataloader.dataset.previous
        self.recorded = len(SequenceFolder(drive, previous=pairs))

    def pretrain_epochs(self) -> int:
        """By the frames of the drive that have an earlier one."""
        return self._epochs(self.plan.pretrain_steps, self.recorded)

    def pretrain_data(self) -> dict[str, object]:
        """The drive in place of the simulated frames."""
        return super().pretrain_data() | {"train_dataloader.dataset.root": self.drive}


class TemporalStudy(Study):
    """Systems with one and with two frames.

    Args:
        systems: System -> its data and trainings; all share one data set.
        labels: Percents of labelled frames; a group is one of them and a system.
        seeds: Of the detectors.
    """

    title = "An earlier frame: T-MAE beside GD-MAE and Voxel-MAE on simulated drives"
    group = "labels, system"
    pair = "system, labels and seed"

    def __init__(self, systems: dict[str, Drives], labels: Sequence[int], seeds: Sequence[int]) -> None:
        super().__init__(next(iter(systems.values())), list(itertools.product(labels, systems)), seeds)
        self.systems, self.labels = systems, labels

    def trainings(self) -> list[Training]:
        """Pre-trainings, the detectors that need none, the others."""
        runs = [(row, self.run_of(row, seed)) for seed in self.seeds for row in self.rows()]
        scratch = [run for row, run in runs if not STARTS[row[1]]]
        rest = [run for row, run in runs if STARTS[row[1]]]
        return [*(own.pretraining(0) for own in self.systems.values()), *scratch, *rest]

    def label(self, group: Hashable) -> str:
        """Both in words."""
        percent, system = group
        return f"{percent} %, {system}"

    def starts(self, group: Hashable) -> Sequence[str]:
        """A recorded drive changes nothing about random weights: those are in T-MAE's own row."""
        _, system = group
        return [start for start in STARTS if system != RECORDED or STARTS[start]]

    def run_of(self, row: Row, seed: int) -> Training:
        """The detector behind one number."""
        (percent, system), start = row
        if system == RECORDED and not STARTS[start]:
            system = "T-MAE"
        return self.systems[system].fine_tuning(percent, seed, STARTS[start], pretrain_seed=0)

    def further(self, row: Row) -> dict[str, str]:
        """The error of velocity."""
        return {"mAVE, m/s": mean(self.values(row, "mAVE"), digits=2)}

    def about(self) -> str:
        """Data, schedules and protocol."""
        plan, own = self.data.plan, self.systems.get(RECORDED)
        shares = " or ".join(map(str, self.labels))
        labelled = " or ".join(str(self.data.count(percent)) for percent in self.labels)
        recorded = (
            f" {RECORDED}: pre-trained on {own.recorded} pairs of frames of a real drive instead, intensity brought to "
            "one scale; fine-tuned like the others."
            if isinstance(own, RecordedDrive)
            else ""
        )
        return (
            f"`tools/temporal_study.py`, written by it. {plan.scenes[0]} training and {plan.scenes[1]} validation "
            f"scenes of {plan.frames} key frames, simulated in nuScenes' layout. Each system is pre-trained once, "
            f"{plan.pretrain_steps} steps of {plan.batch_size} frames without labels, its detector trained for "
            f"{plan.fine_tune_steps} steps on {labelled} labelled frames ({shares} %), with "
            "one schedule and one head; the last epoch is scored on the validation scenes by the nuScenes metric. "
            "Voxel-MAE and GD-MAE see single sweeps; T-MAE also the sweep 0.25 s before, moved by the poses, in "
            "pre-training, fine-tuning and evaluation, so its rows differ from the others in the input, not in "
            "pre-training alone. Mean and standard deviation over the detectors' seeds, in percent."
            f"{recorded}"
        )


if __name__ == "__main__":
    sys.exit(main())
