"""Generate clouds with a diffusion model: files, a contact sheet, and how noise became shapes.

    python tools/sample.py CONFIG CHECKPOINT -o samples --count 24
    python tools/sample.py CONFIG CHECKPOINT --classes chair --sampler dpm-solver++ --steps 50 --guidance 2
    python tools/sample.py CONFIG CHECKPOINT --complete partial.ply        # the given points stay, the rest is added
    python tools/sample.py CONFIG CHECKPOINT --edit chair.npy --strength 0.4

Writes clouds.npy [count, points, 3], one .ply per cloud, sheet.png, denoising.png and denoising.npy. Clouds are in the
units of the data set's files where the config's training data is there, else in those of training (unit variance).
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from torch import Tensor

from mae3d.checkpoints import load_pretrained
from mae3d.datasets.files import read_npy, read_table
from mae3d.datasets.objects.mesh_files import read_ply, write_ply
from mae3d.engine.config import load_config
from mae3d.engine.storage import make_folder
from mae3d.errors import ConfigError, DataError, Mae3dError
from mae3d.models.diffusion import SAMPLERS
from mae3d.models.diffusion.process import Denoised
from mae3d.models.methods import DiT3D
from mae3d.registry import DATASETS, MODELS
from mae3d.visualization.points import View, render_points, save_sheet

FRAMES = 8
"""Pictures of a denoising sequence."""
SHEET_LIMIT = 48


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", type=Path, nargs="?", help="weights; left out: as initialised")
    parser.add_argument("-o", "--out", type=Path, default=Path("samples"), help="folder to write to")
    parser.add_argument("--count", type=int, default=24, help="number of clouds")
    parser.add_argument("--points", type=int, default=2048, help="points of a cloud")
    parser.add_argument("--classes", nargs="+", help="names or numbers, in turn (default: all; 'none': no class)")
    parser.add_argument("--sampler", choices=sorted(SAMPLERS), help="default: the config's, else ddpm")
    parser.add_argument("--steps", type=int, help="times visited (default: the config's, else all)")
    parser.add_argument("--guidance", type=float, help="classifier-free guidance, 1 for none")
    parser.add_argument("--eta", type=float, help="fresh noise of ddim")
    parser.add_argument("--clip", type=float, help="bound of the coordinates of clean estimates, in training's units")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--complete", type=Path, help="partial cloud to complete")
    kind.add_argument("--edit", type=Path, help="cloud to vary")
    parser.add_argument("--strength", type=float, default=0.5, help="how far --edit is noised, up to 1")
    parser.add_argument("--batch-size", type=int, default=64, help="clouds at a time")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything")
    parser.add_argument("--device", help="default: cuda where there is one")
    parser.add_argument("--amp", action="store_true", help="network in bfloat16")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="single config values")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class Units:
    """How training's units and those of the files relate, and the names of the classes.

    Attributes:
        mean: float32 [3].
        std: One number.
        classes: Names in the order of labels; empty where unknown.
    """

    mean: Tensor = field(default_factory=lambda: torch.zeros(3))
    std: float = 1.0
    classes: tuple[str, ...] = ()

    def to_files(self, clouds: Tensor) -> Tensor:
        """From training's units."""
        return clouds * self.std + self.mean

    def to_training(self, clouds: Tensor) -> Tensor:
        """From the files' units."""
        return (clouds - self.mean) / self.std


def find_units(cfg: Config) -> Units:
    """Units of the config's training data, or those of training where it is not there."""
    try:
        data = DATASETS.build(cfg.train_dataloader.dataset)
        return Units(torch.as_tensor(data.mean, dtype=torch.float32), float(data.std), tuple(data.classes))
    except (DataError, AttributeError) as error:
        print(f"clouds stay in the units of training: {error}", file=sys.stderr)
        return Units()


def build_model(cfg: Config, checkpoint: Path | None, device: str) -> DiT3D:
    """The config's model with its weights, in eval mode."""
    model = MODELS.build({**cfg.model, "data_preprocessor": cfg.get("data_preprocessor")})
    if not hasattr(model, "generate"):
        raise ConfigError(f"{type(model).__name__} has no generate(): only diffusion models give samples")
    if checkpoint is not None:
        print(load_pretrained(model, checkpoint))
    return model.to(device).eval()


def choose_labels(wanted: list[str] | None, count: int, model: DiT3D, names: tuple[str, ...]) -> Tensor:
    """Class of each cloud, int64 [count], classes in turn."""
    known = model.condition.num_classes
    if wanted is None:
        numbers = list(range(known)) or [known]
    else:
        numbers = [_class_number(name, known, names) for name in wanted]
    return torch.tensor(numbers).repeat(-(-count // len(numbers)))[:count]


def _class_number(name: str, known: int, names: tuple[str, ...]) -> int:
    if name == "none":
        return known
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < known:
        return int(name)
    raise ConfigError(f"--classes {name}: expected {', '.join(names) or f'0 to {known - 1}'} or none")


def read_cloud(path: Path) -> Tensor:
    """Points float32 [N, 3] of a .npy, .ply or text file."""
    suffix = path.suffix.lower()
    hint = "Give a cloud as .npy [N, 3], .ply, or a text file with a point a line"
    if suffix == ".npy":
        points = read_npy(path, hint)
    elif suffix == ".ply":
        points = read_ply(path)[0]
    else:
        points = read_table(path, hint)
    if points.ndim != 2 or points.shape[1] < 3 or len(points) == 0:
        raise DataError(f"{path}: expected points [N, 3 or more], found {list(points.shape)}. {hint}")
    return torch.from_numpy(np.ascontiguousarray(points[:, :3], dtype=np.float32))


def starting_points(options: argparse.Namespace, units: Units) -> dict[str, Tensor]:
    """The cloud to complete or to vary in training's units, [1, N, 3]."""
    if options.complete is not None:
        known = units.to_training(read_cloud(options.complete))
        if len(known) >= options.points:
            raise DataError(
                f"{options.complete} has {len(known)} points and --points is {options.points}: nothing is left to add"
            )
        return {"known": known[None]}
    if options.edit is not None:
        cloud = read_cloud(options.edit)
        chosen = torch.randint(len(cloud), (options.points,), generator=torch.Generator().manual_seed(options.seed))
        if len(cloud) >= options.points:
            chosen = torch.randperm(len(cloud), generator=torch.Generator().manual_seed(options.seed))[: options.points]
        return {"edit": units.to_training(cloud[chosen])[None]}
    return {}


class Sequence:
    """Keeps the first clouds of a batch at times spread over the whole of sampling."""

    def __init__(self, clouds: int) -> None:
        self.clouds = clouds
        self.times: list[int] = []
        self.noisy: list[Tensor] = []

    def __call__(self, time: int, noisy: Tensor, found: Denoised) -> None:
        """See ``watch`` of :meth:`DiT3D.generate`."""
        self.times.append(time)
        self.noisy.append(noisy[: self.clouds].float().cpu())

    def frames(self, last: Tensor) -> tuple[list[str], Tensor]:
        """Titles, and clouds [frames, clouds, points, 3]; ``last`` are the finished ones."""
        chosen = torch.linspace(0, len(self.times) - 1, FRAMES - 1).round().long().unique().tolist()
        titles = [f"t = {self.times[index]}" for index in chosen] + ["sample"]
        return titles, torch.stack([*(self.noisy[index] for index in chosen), last[: len(self.noisy[0])]])


def generate(cfg: Config, options: argparse.Namespace) -> Path:
    """Draw, save, and picture."""
    if options.count < 1 or options.batch_size < 1:
        raise ConfigError(f"--count and --batch-size must be at least 1, got {options.count}, {options.batch_size}")
    torch.manual_seed(options.seed)
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    units = find_units(cfg)
    model = build_model(cfg, options.checkpoint, device)
    labels = choose_labels(options.classes, options.count, model, units.classes)
    given = {name: getattr(options, name) for name in ("sampler", "steps", "guidance", "eta", "clip")}
    settings = {**model.sampling, **{name: value for name, value in given.items() if value is not None}}
    start = starting_points(options, units)
    make_folder(options.out, "--out")
    generator = torch.Generator(device=device).manual_seed(options.seed)
    sequence, parts = Sequence(4), []
    for own in labels.split(options.batch_size):
        with torch.autocast(device, torch.bfloat16, enabled=options.amp):
            clouds = model.generate(
                len(own),
                options.points,
                label=own,
                strength=options.strength,
                generator=generator,
                watch=None if parts else sequence,
                **{name: cloud.expand(len(own), -1, -1) for name, cloud in start.items()},
                **settings,
            )
        parts.append(clouds.float().cpu())
        print(f"{sum(map(len, parts))} of {options.count} clouds", flush=True)
    return save(options.out, torch.cat(parts), labels, sequence, units)


def save(out: Path, clouds: Tensor, labels: Tensor, sequence: Sequence, units: Units) -> Path:
    """All files; returns the folder."""
    titles, frames = sequence.frames(clouds)
    clouds, frames = units.to_files(clouds), units.to_files(frames)
    np.save(out / "clouds.npy", clouds.numpy())
    np.save(out / "labels.npy", labels.numpy())
    np.save(out / "denoising.npy", frames.numpy())
    for number, cloud in enumerate(clouds.numpy()):
        write_ply(out / f"cloud_{number:04d}.ply", cloud)
    names = [units.classes[label] if label < len(units.classes) else "" for label in labels.tolist()]
    save_sheet([render_points(c) for c in clouds[:SHEET_LIMIT]], out / "sheet.png", titles=names, columns=8)
    views = [View.around(cloud) for cloud in frames[-1]]  # one camera for all frames of a cloud
    pictures = [
        render_points(frames[step, row], view=views[row])
        for row in range(frames.shape[1])
        for step in range(len(titles))
    ]
    save_sheet(pictures, out / "denoising.png", titles=titles, columns=len(titles))
    return out


def main() -> None:
    """Generate."""
    options = parse()
    try:
        cfg = load_config(options.config, options.cfg_options)
        DefaultScope.get_instance("sample", scope_name="mae3d")
        print(f"wrote {generate(cfg, options)}")
    except Mae3dError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
