"""The main job on simulated data: write a data set, pre-train a small Point-MAE, probe it, save a report.

    make demo
    python tools/demo.py [--output demo] [--seeds 0 1 2] [--fresh]

A second run reuses the data and every finished pre-training.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import prepare_data  # noqa: E402  (beside this file)

from mae3d.checkpoints import load_pretrained  # noqa: E402
from mae3d.datasets.objects import ModelNet40  # noqa: E402
from mae3d.engine.config import load_config  # noqa: E402
from mae3d.errors import Mae3dError  # noqa: E402
from mae3d.evaluation.linear_svm import LinearSVM, SvmProtocol  # noqa: E402
from mae3d.models.methods import MaskedAutoencoder  # noqa: E402
from mae3d.registry import MODELS  # noqa: E402
from mae3d.visualization.curves import line_chart, read_scalars  # noqa: E402
from mae3d.visualization.points import render_reconstruction  # noqa: E402
from mae3d.visualization.report import Report  # noqa: E402

CONFIG = ROOT / "configs" / "point_mae" / "point-mae_tiny_5e_shapenet55.py"
PROTOCOL = SvmProtocol("linear_svc", 0.01, "max_mean")
PRETRAIN_CLOUDS, PROBE_CLOUDS = 2400, 1200
LABELS_PER_CLASS = 3


def main() -> int:
    """Run all steps; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"), help="folder of data, runs and report")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one pre-training each")
    parser.add_argument("--fresh", action="store_true", help="throw earlier runs away")
    args = parser.parse_args()
    if args.fresh:
        shutil.rmtree(args.output / "runs", ignore_errors=True)
    try:
        return demonstrate(args.output, args.seeds)
    except Mae3dError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def demonstrate(output: Path, seeds: list[int]) -> int:
    """Data, pre-training, probe, report."""
    print(f"[1/4] simulated objects in the layouts of ShapeNet55 and ModelNet40 -> {output / 'data'}", flush=True)
    write_data(output / "data")

    print(f"[2/4] pre-training with seeds {seeds} -> {output / 'runs'}", flush=True)
    seconds = {seed: pretrain(output, seed) for seed in seeds}

    print(
        f"[3/4] linear SVM on frozen features, {LABELS_PER_CLASS} labels a class, judged on held-out clouds", flush=True
    )
    data = {split: load_clouds(output / "data", split) for split in ("train", "test")}
    data["train"] = few_of_each(*data["train"], LABELS_PER_CLASS)
    scores = {seed: (probe(random_model(seed), data), probe(trained_model(output, seed), data)) for seed in seeds}
    rows = score_table(scores)
    print(format_table(rows))

    print("[4/4] report", flush=True)
    path = write_report(output, seeds, rows, seconds, data["test"][0])
    print(f"report: {path}")
    return 0


def write_data(root: Path) -> None:
    """Both layouts; finished files are kept."""
    for layout, count in (("shapenet55", PRETRAIN_CLOUDS), ("modelnet40", PROBE_CLOUDS)):
        command = ["simulated-objects", "--root", str(root), "--layouts", layout, "--count", str(count)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            status = prepare_data.main([*command, "--points", "2048"])
        if status:
            raise SystemExit(said.getvalue())


def pretrain(output: Path, seed: int) -> float:
    """Run tools/train.py unless its result is there; returns the seconds it took, NaN for an earlier run."""
    work_dir = run_folder(output, seed)
    if (work_dir / "finished").exists():
        print(f"seed {seed}: finished earlier, reused")
        return float("nan")
    data_root = output / "data" / prepare_data.LAYOUTS["shapenet55"]
    command = [sys.executable, "tools/train.py", str(CONFIG), "--work-dir", str(work_dir.resolve()), "--resume"]
    command += ["--seed", str(seed), "--cfg-options", f"train_dataloader.dataset.root={data_root.resolve()}"]
    start = time.monotonic()
    if follow(command, f"seed {seed}"):
        raise SystemExit(f"pre-training with seed {seed} failed; its log is under {work_dir}")
    (work_dir / "finished").touch()
    return time.monotonic() - start


def follow(command: list[str], name: str) -> int:
    """Run a training, printing its progress lines only (all of them if it fails); returns its exit status."""
    said = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            said.append(line)
            if "Epoch(train)" in line:
                print(f"{name}: {line.split('Epoch(train)')[1].strip()}", flush=True)
    if process.returncode:
        print("".join(said), file=sys.stderr)
    return process.returncode


def run_folder(output: Path, seed: int) -> Path:
    """Where the run of ``seed`` writes."""
    return output / "runs" / f"seed_{seed}"


def load_clouds(root: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All clouds [N, 512, 3] and labels [N] of a split of the simulated ModelNet40."""
    dataset = ModelNet40(root / prepare_data.LAYOUTS["modelnet40"], split, npoints=512)
    batches = list(DataLoader(dataset, batch_size=256))
    return torch.cat([b["points"][..., :3] for b in batches]), torch.cat([b["label"] for b in batches])


def few_of_each(points: torch.Tensor, labels: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first ``count`` clouds of every class."""
    chosen = torch.cat([torch.nonzero(labels == label).flatten()[:count] for label in labels.unique()])
    return points[chosen], labels[chosen]


def random_model(seed: int) -> MaskedAutoencoder:
    """The model before training."""
    torch.manual_seed(seed)
    return MODELS.build({**load_config(CONFIG).model, "data_preprocessor": None})


def trained_model(output: Path, seed: int) -> MaskedAutoencoder:
    """The model after training."""
    model = random_model(seed)
    work_dir = run_folder(output, seed)
    load_pretrained(model, work_dir / (work_dir / "last_checkpoint").read_text().strip())
    return model


def probe(model: MaskedAutoencoder, data: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Accuracy of a linear SVM on standardised frozen features."""
    features = {
        split: torch.cat([model.extract_features(part, PROTOCOL.pooling) for part in points.split(128)])
        for split, (points, _) in data.items()
    }
    mean, std = features["train"].mean(dim=0), features["train"].std(dim=0) + 1e-6
    machine = LinearSVM(PROTOCOL)
    for split, values in features.items():
        machine.process((values - mean) / std, data[split][1], train=split == "train")
    return machine.compute()["accuracy"]


def score_table(scores: dict[int, tuple[float, float]]) -> list[list[str]]:
    """Header and one row per kind of features: every seed, mean and standard deviation, in percent."""
    rows = [["features", *(f"seed {seed}" for seed in scores), "mean", "std"]]
    for column, name in enumerate(("random weights", "pre-trained")):
        values = 100 * np.array([pair[column] for pair in scores.values()])
        rows.append([name, *(f"{v:.1f}" for v in values), f"{values.mean():.1f}", f"{values.std():.1f}"])
    return rows


def format_table(rows: list[list[str]]) -> str:
    """Rows as aligned text."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)) for row in rows)


def write_report(
    output: Path, seeds: list[int], rows: list[list[str]], seconds: dict[int, float], clouds: torch.Tensor
) -> Path:
    """The HTML page: table, loss curves, pictures."""
    report = Report("Point-MAE on simulated objects")
    report.paragraph(
        f"Pre-trained without labels on the training split of {PRETRAIN_CLOUDS} simulated clouds; a linear SVM is "
        f"fitted to the frozen features of {LABELS_PER_CLASS} labelled clouds a class. Accuracy on held-out clouds, "
        "percent."
    )
    report.table(rows[0], rows[1:])
    took = ", ".join(f"seed {seed}: {value:.0f} s" for seed, value in seconds.items() if not np.isnan(value))
    if took:
        report.paragraph(f"Pre-training took {took}.")
    report.heading("Pre-training loss")
    curves = {f"seed {seed}": read_scalars(newest_scalars(output, seed))["loss"] for seed in seeds}
    report.figure(line_chart(curves, x_label="iteration", y_label="Chamfer distance (squared)", log_y=True))
    report.heading("Masked input and reconstruction")
    report.image(reconstructions(trained_model(output, seeds[0]), clouds), "original, visible patches, reconstruction")
    report.heading("Config")
    report.preformatted(CONFIG.read_text())
    return report.save(output / "report.html")


def newest_scalars(output: Path, seed: int) -> Path:
    """The scalars file of the last start of a run."""
    return sorted(run_folder(output, seed).glob("*/vis_data/scalars.json"))[-1]


def reconstructions(model: MaskedAutoencoder, clouds: torch.Tensor, rows: int = 8) -> np.ndarray:
    """Picture uint8 [H, W, 3]: two clouds a line, each original, visible patches, reconstruction."""
    chosen = clouds[torch.linspace(0, len(clouds) - 1, rows).long()]
    result = model.reconstruct(chosen, generator=torch.Generator().manual_seed(0))
    panels = [
        np.concatenate(render_reconstruction(*triple, size=180), axis=1)
        for triple in zip(result.original, result.visible, result.predicted)
    ]
    lines = [np.concatenate(panels[i : i + 2], axis=1) for i in range(0, rows, 2)]
    return np.concatenate(lines, axis=0)


if __name__ == "__main__":
    raise SystemExit(main())
