"""The main job on simulated drives: is pre-training worth it where labels are few?

    make demo
    python tools/demo.py [--output demo] [--labels 20] [--seed 0] [--fresh]

Simulates drives in nuScenes' layout, pre-trains Voxel-MAE on all of them without labels, trains a detector on a share
of the labels from the pre-trained and from random weights, scores both by the nuScenes metric and writes a report with
pictures. Everything runs through tools/prepare_data.py and tools/train.py; what is finished is reused.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

from drives import FINE_TUNE, PRETRAIN, STARTS, Drives, Plan, label_share  # noqa: E402  (beside this file)
from trainings import Training, cores, run_all  # noqa: E402
from visualize import detect, load_model, reconstruct  # noqa: E402

from mae3d.datasets.lidar import collate_packed  # noqa: E402
from mae3d.engine.config import load_config  # noqa: E402
from mae3d.engine.storage import make_folder  # noqa: E402
from mae3d.errors import Mae3dError  # noqa: E402
from mae3d.models.heads.detection.presets import NUSCENES_CLASSES  # noqa: E402
from mae3d.visualization.bev import BirdsEye  # noqa: E402
from mae3d.visualization.curves import line_chart  # noqa: E402
from mae3d.visualization.perspective import Perspective  # noqa: E402
from mae3d.visualization.report import Report  # noqa: E402
from mae3d.visualization.scenes import draw_detections, draw_reconstruction  # noqa: E402
from mae3d.visualization.tables import plain_table  # noqa: E402

PLAN = Plan((25, 6), 8, pretrain_steps=700, fine_tune_steps=360, batch_size=2)
ERRORS = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")


def main() -> int:
    """Run all steps; returns the exit status."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of data, runs and report")
    parser.add_argument("--labels", type=label_share, default=20, help="percent of the training frames with labels")
    parser.add_argument("--seed", type=int, default=0, help="seed of all trainings")
    parser.add_argument("--fresh", action="store_true", help="throw earlier runs away")
    args = parser.parse_args()
    if args.fresh:
        shutil.rmtree(args.output / "runs", ignore_errors=True)
    try:
        output = make_folder(args.output, "--output")
        print(f"report: {demonstrate(Drives(output, PLAN), output / 'report.html', args.labels, args.seed)}")
    except (Mae3dError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def demonstrate(drives: Drives, report: Path, labels: int, seed: int) -> Path:
    """Data, pre-training, fine-tuning, table, report."""
    say = lambda text: print(text, flush=True)  # noqa: E731
    say(f"[1/5] simulated drives in nuScenes' layout -> {drives.root}")
    drives.simulate(workers=cores())
    say(f"[2/5] pre-training on {drives.count(100)} frames without labels -> {drives.runs}")
    pretraining = drives.pretraining(seed)
    if not pretraining.run(say):
        say(f"{pretraining.name}: finished earlier, reused")
    say(f"[3/5] two detectors on {drives.count(labels)} labelled frames, side by side")
    runs = {name: drives.fine_tuning(labels, seed, pretrained) for name, pretrained in STARTS.items()}
    for error in run_all([pretraining, *runs.values()], jobs=2, say=say, follow=say):
        raise error
    say(f"[4/5] nuScenes metric on {len(drives.frames('val'))} frames of other streets, percent")
    rows = score_table(runs)
    say(plain_table(rows))
    say("[5/5] report")
    return write_report(report, drives, pretraining, runs, rows)


def score_table(runs: dict[str, Training]) -> list[list[str]]:
    """mAP, NDS and mean errors of each run."""
    rows = [["encoder", "mAP", "NDS", *ERRORS]]
    for name, run in runs.items():
        metrics = run.metrics()
        scores = [f"{100 * metrics[f'nuscenes/{metric}']:.1f}" for metric in ("mAP", "NDS")]
        rows.append([name, *scores, *(f"{metrics[f'nuscenes/{metric}']:.2f}" for metric in ERRORS)])
    return rows


def class_table(runs: dict[str, Training]) -> list[list[str]]:
    """AP of each class."""
    rows = [["class", *runs]]
    for name in NUSCENES_CLASSES:
        rows.append([name, *(f"{100 * run.metrics()[f'nuscenes/AP_{name}']:.1f}" for run in runs.values())])
    return rows


def write_report(
    path: Path, drives: Drives, pretraining: Training, runs: dict[str, Training], rows: list[list[str]]
) -> Path:
    """The HTML page: tables, loss curves, pictures."""
    percent = next(iter(runs.values())).options["train_dataloader.dataset.percent"]
    report = Report("Voxel-MAE on simulated drives")
    report.paragraph(
        f"Pre-trained on {drives.count(100)} frames without labels. Two equal detectors were trained on "
        f"{drives.count(percent)} labelled frames ({percent} %) with the same schedule and seed, one from random "
        "weights and one from the pre-trained encoder. nuScenes metric on frames of streets that neither has seen: "
        "mAP and NDS in percent, mean errors of true positives as the benchmark defines them. One seed: for a "
        "comparison over several see tools/study.py."
    )
    report.table(rows[0], rows[1:])
    classes = class_table(runs)
    report.heading("AP by class, percent")
    report.table(classes[0], classes[1:])
    draw_pictures(report, drives, pretraining, runs)
    report.heading("Losses")
    curves = {name: points for name, points in pretraining.curves().items() if "loss" in name}
    report.figure(line_chart(curves, x_label="iteration", y_label="pre-training", log_y=True))
    curves = {name: run.curves()["loss"] for name, run in runs.items()}
    report.figure(line_chart(curves, x_label="iteration", y_label="detection", log_y=True))
    report.heading("Time")
    report.paragraph(", ".join(f"{run.name}: {run.seconds():.0f} s" for run in (pretraining, *runs.values())))
    for config in (PRETRAIN, FINE_TUNE):
        report.heading(config.name)
        report.preformatted(config.read_text())
    return report.save(path)


def draw_pictures(report: Report, drives: Drives, pretraining: Training, runs: dict[str, Training]) -> None:
    """One validation frame hidden and reconstructed, two with the boxes that each detector finds."""
    frames = drives.frames("val")
    report.heading("Input, what the encoder saw, reconstruction")
    model = load_model(load_config(PRETRAIN), pretraining.checkpoint)
    scene, boxes = reconstruct(model, collate_packed([frames[len(frames) // 2]]), seed=0)
    captions = {
        BirdsEye(): "From above: input with its boxes, visible points and hidden pillars, predicted points in orange.",
        Perspective(): "The same from behind the vehicle.",
    }
    for view, caption in captions.items():
        report.figure(draw_reconstruction(scene, boxes=boxes, view=view), caption)
    report.heading("Ground truth (green) and detections (orange, surer ones darker)")
    models = {name: load_model(load_config(FINE_TUNE), run.checkpoint) for name, run in runs.items()}
    for index, view in ((len(frames) // 2, BirdsEye()), (len(frames) // 2, Perspective()), (0, BirdsEye())):
        found = {}
        for name, model in models.items():
            points, truth, found[name] = detect(model, collate_packed([frames[index]]))
        report.figure(draw_detections(points, truth, found, point_range=model.head.point_range, view=view))


if __name__ == "__main__":
    torch.manual_seed(0)
    sys.exit(main())
