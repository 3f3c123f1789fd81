"""The experiment on simulated drives: simulate, pre-train, fine-tune a detector with some of the labels.

Shared by demo.py (once, small), study.py (several label fractions and seeds) and temporal_study.py (several systems).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import prepare_data  # noqa: E402  (beside this file)
from trainings import Training  # noqa: E402

from mae3d.datasets.lidar import NuScenes  # noqa: E402
from mae3d.errors import DataError  # noqa: E402

PRETRAIN = ROOT / "configs" / "voxel_mae" / "voxel-mae_tiny_20e_simulated-drives.py"
FINE_TUNE = ROOT / "configs" / "detection" / "sst_tiny_20e_simulated-drives.py"
STARTS = {"random weights": False, "pre-trained": True}
"""What a detector starts from -> whether that needs a pre-training."""


def label_share(text: str) -> int:
    """A share of labels on a command line."""
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"a share of labels is 1 to 100 percent, got {value}")
    return value


@dataclass(frozen=True)
class System:
    """What is pre-trained, and the detector that it serves.

    Attributes:
        name: Begins the names of its runs; empty for the one of the demo.
        pretrain: Config of the pre-training.
        fine_tune: Config of the detector.
        data: Options of the data set in both, key -> value.
        warm_up: The pre-training's schedule counts a warm-up and epochs, which follow its length.
        sweeps: Point files that the data set needs up to each key frame, its own included.
    """

    name: str = ""
    pretrain: Path = PRETRAIN
    fine_tune: Path = FINE_TUNE
    data: dict[str, object] = field(default_factory=dict)
    warm_up: bool = True
    sweeps: int = 2


@dataclass(frozen=True)
class Plan:
    """How much of everything.

    Attributes:
        scenes: Training and validation scenes.
        frames: Key frames of a scene.
        pretrain_steps: Optimizer steps of a pre-training; rounded to whole epochs.
        fine_tune_steps: Of a fine-tuning, whatever the number of labels.
        batch_size: Samples of a step.
        workers: Data-loading processes of a training; 0 loads in the training process.
        amp: Precision of ``--amp``, None for float32.
        pretrain_options: Further config values of every pre-training.
        fine_tune_options: Further config values of every fine-tuning.
    """

    scenes: tuple[int, int]
    frames: int
    pretrain_steps: int
    fine_tune_steps: int
    batch_size: int
    workers: int = 0
    amp: str | None = None
    pretrain_options: dict[str, object] = field(default_factory=dict)
    fine_tune_options: dict[str, object] = field(default_factory=dict)


class Drives:
    """Data and trainings of a plan under one folder.

    Args:
        output: Folder; ``data/`` and ``runs/`` below it are reused.
        plan: Sizes.
        system: What is trained; None: Voxel-MAE.
    """

    def __init__(self, output: Path, plan: Plan, system: System | None = None) -> None:
        self.plan = plan
        self.system = system or System()
        self.root = (output / "data" / "nuscenes").resolve()
        self.runs = output / "runs"
        self._counts: dict[int, int] = {}

    def simulate(self, workers: int) -> None:
        """Write the data set with ``tools/prepare_data.py``; a finished one is kept.

        Raises:
            DataError: The simulation failed.
        """
        train, val = self.plan.scenes
        command = ["simulated-drives", "--root", str(self.root.parent), "--scenes", str(train), str(val)]
        command += ["--frames", str(self.plan.frames), "--sweeps", str(self.system.sweeps)]
        command += ["--workers", str(workers)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = prepare_data.main(command)
        if status:
            raise DataError(said.getvalue())

    def frames(self, split: str, percent: int = 100) -> NuScenes:
        """Frames of a split as the configs read them."""
        return NuScenes(self.root, split, percent=percent, features=(), sweeps=2, remove_close=2.0)

    def count(self, percent: int) -> int:
        """Training frames with labels."""
        if percent not in self._counts:
            self._counts[percent] = len(self.frames("train", percent))
        return self._counts[percent]

    def pretraining(self, seed: int) -> Training:
        """The system on all training frames, without their labels."""
        epochs = self.pretrain_epochs()
        options = self.pretrain_data() | self._length(epochs)
        if self.system.warm_up:
            options |= {"param_scheduler.0.end": max(1, self.plan.pretrain_steps // 20)}
            options |= {"param_scheduler.1.T_max": epochs, "param_scheduler.1.end": epochs}
        options |= {"custom_hooks.0.interval": epochs, **self.plan.pretrain_options}
        return self._training(f"pretrain-seed{seed}", self.system.pretrain, options, seed)

    def pretrain_epochs(self) -> int:
        """Length of a pre-training; its last checkpoint is called after it."""
        return self._epochs(self.plan.pretrain_steps, self.count(100))

    def pretrain_data(self) -> dict[str, object]:
        """Config values of a pre-training's data."""
        return self._data("train_dataloader")

    def fine_tuning(
        self, percent: int, seed: int, pretrained: bool, length: float = 1.0, pretrain_seed: int | None = None
    ) -> Training:
        """The detector with ``percent`` of the labels, from pre-trained or from random weights.

        ``length`` stretches the schedule; the pre-training is that of ``pretrain_seed``, by default of the same seed.
        """
        epochs = self._epochs(length * self.plan.fine_tune_steps, self.count(percent))
        options = self._data("train_dataloader") | self._length(epochs)
        options |= {"train_dataloader.dataset.percent": percent, "train_cfg.val_interval": epochs}
        options |= self._data("val_dataloader") | {"val_evaluator.dataset.root": self.root}
        options |= self.plan.fine_tune_options
        before = self.pretraining(seed if pretrain_seed is None else pretrain_seed) if pretrained else None
        if before is not None:
            checkpoint = before.work_dir.resolve() / f"epoch_{self.pretrain_epochs()}.pth"
            options |= {"model.init_cfg.type": "mae3d.checkpoints.PretrainedEncoder"}
            options |= {"model.init_cfg.checkpoint": checkpoint}
        start = "pretrained" if pretrained else "scratch" if length == 1 else f"scratch-x{length:g}"
        return self._training(f"labels{percent}-{start}-seed{seed}", self.system.fine_tune, options, seed, before)

    def _training(
        self, name: str, config: Path, options: dict[str, object], seed: int, after: Training | None = None
    ) -> Training:
        name = f"{self.system.name}-{name}" if self.system.name else name
        return Training(name, config, self.runs / name, options, seed, self.plan.amp, after)

    def _epochs(self, steps: float, frames: int) -> int:
        return max(1, round(steps / max(1, frames // self.plan.batch_size)))

    def _data(self, loader: str) -> dict[str, object]:
        options = {"dataset.root": self.root, "batch_size": self.plan.batch_size, "num_workers": self.plan.workers}
        options |= {"persistent_workers": self.plan.workers > 0}
        options |= {f"dataset.{key}": value for key, value in self.system.data.items()}
        return {f"{loader}.{key}": value for key, value in options.items()}

    def _length(self, epochs: int) -> dict[str, object]:
        saved = max(1, epochs // 4)
        return {"train_cfg.max_epochs": epochs, "default_hooks.checkpoint.interval": saved}
