"""Point-MAE on simulated objects: write a data set, pre-train, fit a linear SVM to frozen features, save a report.

    make demo-objects
    python tools/demo_objects.py [--output demo-objects] [--seeds 0 1 2] [--fresh]

A second run reuses the data and every finished pre-training.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import shutil
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import prepare_data  # noqa: E402  (beside this file)
from preparation.simulated_objects import LAYOUTS  # noqa: E402
from trainings import Training  # noqa: E402

from mae3d.checkpoints import load_pretrained  # noqa: E402
from mae3d.datasets.objects import ModelNet40  # noqa: E402
from mae3d.engine.config import load_config  # noqa: E402
from mae3d.engine.storage import make_folder  # noqa: E402
from mae3d.errors import Mae3dError  # noqa: E402
from mae3d.evaluation.linear_svm import LinearSVM, SvmProtocol  # noqa: E402
from mae3d.models.methods import MaskedAutoencoder  # noqa: E402
from mae3d.registry import MODELS  # noqa: E402
from mae3d.visualization.curves import line_chart, read_scalars  # noqa: E402
from mae3d.visualization.points import render_reconstruction  # noqa: E402
from mae3d.visualization.report import Report  # noqa: E402
from mae3d.visualization.tables import plain_table  # noqa: E402

CONFIG = ROOT / "configs" / "point_mae" / "point-mae_tiny_5e_shapenet55.py"
PROTOCOL = SvmProtocol("linear_svc", 0.01, "max_mean")
PRETRAIN_CLOUDS, PROBE_CLOUDS = 2400, 1200
LABELS_PER_CLASS = 3


def main() -> int:
    """Run all steps; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo-objects"), help="folder of data, runs and report")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one pre-training each")
    parser.add_argument("--fresh", action="store_true", help="throw earlier runs away")
    args = parser.parse_args()
    if args.fresh:
        shutil.rmtree(args.output / "runs", ignore_errors=True)
    try:
        return demonstrate(make_folder(args.output, "--output"), args.seeds)
    except (Mae3dError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def demonstrate(output: Path, seeds: list[int]) -> int:
    """Data, pre-training, probe, report."""
    print(f"[1/4] simulated objects in the layouts of ShapeNet55 and ModelNet40 -> {output / 'data'}", flush=True)
    write_data(output / "data")

    print(f"[2/4] pre-training with seeds {seeds} -> {output / 'runs'}", flush=True)
    trainings = {seed: training(output, seed) for seed in seeds}
    for own in trainings.values():
        if not own.run(lambda text: print(text, flush=True)):
            print(f"{own.name}: finished earlier, reused")

    print(
        f"[3/4] linear SVM on frozen features, {LABELS_PER_CLASS} labels a class, judged on held-out clouds", flush=True
    )
    data = {split: load_clouds(output / "data", split) for split in ("train", "test")}
    data["train"] = few_of_each(*data["train"], LABELS_PER_CLASS)
    scores = {
        seed: (probe(random_model(seed), data), probe(trained_model(own), data)) for seed, own in trainings.items()
    }
    rows = score_table(scores)
    print(plain_table(rows))

    print("[4/4] report", flush=True)
    path = write_report(output / "report.html", trainings, rows, data["test"][0])
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


def training(output: Path, seed: int) -> Training:
    """The pre-training of ``seed``."""
    data_root = (output / "data" / LAYOUTS["shapenet55"]).resolve()
    options = {"train_dataloader.dataset.root": data_root}
    return Training(f"seed {seed}", CONFIG, output / "runs" / f"seed_{seed}", options, seed)


def load_clouds(root: Path, split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All clouds [N, 512, 3] and labels [N] of a split of the simulated ModelNet40."""
    dataset = ModelNet40(root / LAYOUTS["modelnet40"], split, npoints=512)
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


def trained_model(own: Training) -> MaskedAutoencoder:
    """The model after training."""
    model = random_model(own.seed)
    load_pretrained(model, own.checkpoint)
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


def write_report(path: Path, trainings: dict[int, Training], rows: list[list[str]], clouds: torch.Tensor) -> Path:
    """The HTML page: table, loss curves, pictures."""
    report = Report("Point-MAE on simulated objects")
    report.paragraph(
        f"Pre-trained without labels on the training split of {PRETRAIN_CLOUDS} simulated clouds; a linear SVM is "
        f"fitted to the frozen features of {LABELS_PER_CLASS} labelled clouds a class. Accuracy on held-out clouds, "
        "percent."
    )
    report.table(rows[0], rows[1:])
    took = ", ".join(f"{own.name}: {own.seconds():.0f} s" for own in trainings.values())
    report.paragraph(f"Pre-training took {took}.")
    report.heading("Pre-training loss")
    curves = {own.name: read_scalars(own.scalars()[-1])["loss"] for own in trainings.values()}
    report.figure(line_chart(curves, x_label="iteration", y_label="Chamfer distance (squared)", log_y=True))
    report.heading("Masked input and reconstruction")
    first = next(iter(trainings.values()))
    report.image(reconstructions(trained_model(first), clouds), "original, visible patches, reconstruction")
    report.heading("Config")
    report.preformatted(CONFIG.read_text())
    return report.save(path)


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
