"""Train FastDiT-3D on simulated shapes, generate, and compare with the model before and early in training.

    python tools/generation_demo.py --output generation_demo                 # one GPU, a few minutes
    python tools/generation_demo.py --config configs/fastdit3d/fastdit3d_tiny_300_simulated.py   # CPU

Writes the data, the run, samples of each model, results.json and report.html. Steps that are finished are reused.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import prepare_data  # noqa: E402  (beside this file)
import sample as sampling  # noqa: E402
from preparation.simulated_objects import LAYOUTS  # noqa: E402
from trainings import Training  # noqa: E402

from mae3d.checkpoints.files import read_file  # noqa: E402
from mae3d.engine.config import load_config  # noqa: E402
from mae3d.engine.storage import make_folder  # noqa: E402
from mae3d.errors import Mae3dError  # noqa: E402
from mae3d.evaluation.generation import compare_sets, jensen_shannon, occupancy  # noqa: E402
from mae3d.models.methods import DiT3D  # noqa: E402
from mae3d.registry import DATASETS  # noqa: E402
from mae3d.visualization.points import render_points, save_sheet  # noqa: E402
from mae3d.visualization.report import Report  # noqa: E402

CONFIG = ROOT / "configs" / "fastdit3d" / "fastdit3d_small_7k_simulated.py"
FILE_NAME = str.maketrans({" ": "_", "(": None, ")": None})
METRICS = {"mmd_cd": "lower", "cov_cd": "higher", "1nna_cd": "nearer to 0.5", "jsd": "lower"}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("generation_demo"), help="folder of everything")
    parser.add_argument("--config", type=Path, default=CONFIG, help="config of the run")
    parser.add_argument("--clouds", type=int, default=1800, help="simulated clouds, a fifth of them for testing")
    parser.add_argument("--minutes", type=float, default=4.0, help="longest training")
    parser.add_argument("--count", type=int, default=300, help="clouds to generate and to compare with, at most")
    parser.add_argument("--emd", action="store_true", help="earth mover's distance too (GPU)")
    parser.add_argument("--fresh", action="store_true", help="throw an earlier run away")
    return parser.parse_args()


def main() -> int:
    """Run all steps; returns the exit status."""
    args = parse()
    DefaultScope.get_instance("generation_demo", scope_name="mae3d")
    if args.fresh:
        shutil.rmtree(args.output / "run", ignore_errors=True)
    try:
        make_folder(args.output, "--output")
        return demonstrate(args)
    except (Mae3dError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1


def demonstrate(args: argparse.Namespace) -> int:
    """Data, training, samples, metrics, report."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    cfg = load_config(args.config)
    root = (args.output / "data" / LAYOUTS["shapenet15k"]).resolve()
    cfg.merge_from_dict({f"{split}_dataloader.dataset.root": str(root) for split in ("train", "test")})
    print(f"[1/4] {args.clouds} simulated clouds -> {root}", flush=True)
    write_data(args.output / "data", args.clouds, list(cfg.train_dataloader.dataset.categories))
    print(f"[2/4] training, at most {args.minutes:g} minutes on {device} -> {args.output / 'run'}", flush=True)
    options = {"train_dataloader.dataset.root": root, "custom_hooks.0.minutes": args.minutes}
    amp = "bf16" if device == "cuda" else None
    training = Training("training", args.config.resolve(), args.output / "run", options, amp=amp)
    if not training.run(lambda text: print(text, flush=True)):
        print(f"{training.name}: finished earlier, reused")
    print("[3/4] samples and metrics", flush=True)
    points, labels, units = references(cfg, args.count)
    results, pictures = {}, {}
    for name, model in stages(cfg, training.work_dir, device):
        start = time.monotonic()
        clouds = draw(model, labels, points.shape[1], units, device)
        taken = time.monotonic() - start
        results[name] = judge(clouds.to(device), points.to(device), ["cd", "emd"] if args.emd else ["cd"])
        pictures[name] = clouds
        line = ", ".join(f"{key} {value:.4f}" for key, value in results[name].items())
        print(f"{name}: {line} ({len(clouds)} clouds in {taken:.0f} s)", flush=True)
    train_clouds = training_clouds(cfg, len(points))
    results["training clouds"] = judge(train_clouds.to(device), points.to(device), ["cd"])
    print("[4/4] report", flush=True)
    print(f"report: {write_report(args, results, pictures, points, labels, units, training.seconds())}")
    return 0


def write_data(root: Path, count: int, categories: list[str]) -> None:
    """Simulated clouds in the layout of ShapeNetCore.v2.PC15k; finished files are kept."""
    command = ["simulated-objects", "--root", str(root), "--layouts", "shapenet15k", "--count", str(count)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        status = prepare_data.main([*command, "--categories", *categories])
    if status:
        raise SystemExit(said.getvalue())


def references(cfg: Config, count: int) -> tuple[Tensor, Tensor, sampling.Units]:
    """Test clouds [S, P, 3] in the files' units, their labels [S], and the units."""
    data = DATASETS.build(cfg.test_dataloader.dataset)
    units = sampling.Units(torch.as_tensor(data.mean, dtype=torch.float32), data.std, data.classes)
    rows = next(iter(DataLoader(data, batch_size=min(count, len(data)))))
    return units.to_files(rows["points"]), rows["label"], units


def training_clouds(cfg: Config, count: int) -> Tensor:
    """As many training clouds: what a perfect model's samples would look like to the metrics."""
    data = DATASETS.build(cfg.train_dataloader.dataset)
    rows = next(iter(DataLoader(data, batch_size=min(count, len(data)))))
    return rows["points"] * rows["std"][:, None, None] + rows["mean"][:, None]


def stages(cfg: Config, run: Path, device: str) -> list[tuple[str, DiT3D]]:
    """The model untrained, after the first checkpoint, in the middle and at the end, with their names.

    The first checkpoint gives its raw weights: the averaged ones still hold much of the start.
    """
    found = sorted(run.glob("iter_*.pth"), key=lambda path: int(path.stem.split("_")[1]))
    if not found:
        raise SystemExit(f"{run} holds no iter_*.pth; train again with --fresh")
    torch.manual_seed(0)
    result = [("untrained", sampling.build_model(cfg, None, device))]
    result.append((f"undertrained ({found[0].stem})", raw_model(cfg, found[0], device)))
    for path in dict.fromkeys((found[len(found) // 2], found[-1])):
        result.append((f"trained ({path.stem})", sampling.build_model(cfg, path, device)))
    return result


def raw_model(cfg: Config, path: Path, device: str) -> DiT3D:
    """The model with the weights that the optimizer works on; files hold averaged ones under the usual name."""
    content = read_file(path)
    averaged = "ema_state_dict" in content
    state = content["ema_state_dict" if averaged else "state_dict"]
    model = sampling.build_model(cfg, None, device)
    names = {name.removeprefix("module."): value for name, value in state.items() if name != "steps"}
    model.load_state_dict(names)
    return model


def draw(model: DiT3D, labels: Tensor, points: int, units: sampling.Units, device: str) -> Tensor:
    """One cloud for each label, in the files' units."""
    generator = torch.Generator(device=device).manual_seed(0)
    parts = []
    for own in labels.split(100):
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            parts.append(model.generate(len(own), points, label=own, generator=generator, **model.sampling).float())
    return units.to_files(torch.cat(parts).cpu())


def judge(samples: Tensor, references: Tensor, distances: list[str]) -> dict[str, float]:
    """Metrics of samples against references."""
    # An untrained network sends clouds far away; beyond any shape they are all equally wrong.
    samples = samples.nan_to_num(1e3, 1e3, -1e3).clamp(-1e3, 1e3)
    found = compare_sets(samples, references, distances)
    shares = [occupancy(clouds, radius=1.0) for clouds in (samples, references)]
    return {**found, "jsd": jensen_shannon(*shares)}


def write_report(
    args: argparse.Namespace,
    results: dict[str, dict[str, float]],
    pictures: dict[str, Tensor],
    points: Tensor,
    labels: Tensor,
    units: sampling.Units,
    seconds: float,
) -> Path:
    """results.json, one sheet per model, and the page."""
    content = {"training_seconds": seconds, "clouds": len(points), "results": results}
    (args.output / "results.json").write_text(json.dumps(content, indent=2))
    report = Report("FastDiT-3D on simulated shapes")
    report.paragraph(
        f"{len(points)} clouds of each model against as many test clouds; training took {seconds:.0f} s with start-up. "
        "1-NNA is best at 0.5; the last row compares real training clouds."
    )
    names = list(next(iter(results.values())))
    rows = []
    for stage, values in results.items():
        rows.append([stage, *(f"{values[name]:.4f}" if name in values else "" for name in names)])
    report.table(["samples", *(f"{name} ({METRICS.get(name, 'lower')})" for name in names)], rows)
    order = labels.argsort(stable=True)
    chosen = order[torch.linspace(0, len(order) - 1, 24).round().long()]
    for stage, clouds in {**pictures, "test clouds": points}.items():
        near = [cloud[cloud.abs().amax(dim=1) < 2] for cloud in clouds[chosen]]  # an early model sends points far away
        images = [render_points(cloud) for cloud in near]
        titles = [units.classes[label] for label in labels[chosen].tolist()]
        path = args.output / f"{stage.translate(FILE_NAME)}.png"
        save_sheet(images, path, titles=titles, columns=8)
        report.heading(stage)
        report.image(np.asarray(Image.open(path).convert("RGB")), stage)
    return report.save(args.output / "report.html")


if __name__ == "__main__":
    raise SystemExit(main())
