"""Draw what a model makes of one sample: input, what it saw and its reconstruction, or ground truth and detections.

    python tools/visualize.py configs/voxel_mae/voxel-mae_sst_200e_nuscenes-2sweeps.py RUN/epoch_200.pth -o frame.png
    python tools/visualize.py CONFIG CHECKPOINT --index 12 --seed 3 --view perspective
    python tools/visualize.py CONFIG CHECKPOINT --format rrd       # opens in the Rerun viewer: rerun FILE
    python tools/visualize.py CONFIG CHECKPOINT --dataset type=SequenceFolder root=DRIVE sweeps=2
    python tools/visualize.py CONFIG CHECKPOINT --points FRAME.pcd.bin --columns 5 --axes right-ahead

The sample comes from the config's training data (detectors: validation data), without augmentation; --dataset takes
another data set in its place, --points one raw file. Without a checkpoint the model has random weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import Tensor, nn

from mae3d.checkpoints import load_pretrained
from mae3d.datasets.lidar import collate_packed
from mae3d.datasets.lidar.point_files import check_points
from mae3d.datasets.lidar.sequence_folder import read_point_file
from mae3d.engine.config import load_config
from mae3d.engine.features import context_of, inputs_of
from mae3d.errors import ConfigError, Mae3dError
from mae3d.models.heads.detection import Detector
from mae3d.registry import DATASETS, MODELS
from mae3d.structures import PixelReconstruction, SceneReconstruction
from mae3d.visualization.bev import BirdsEye
from mae3d.visualization.perspective import Perspective
from mae3d.visualization.pixels import save_pixel_reconstructions
from mae3d.visualization.points import save_reconstructions
from mae3d.visualization.rerun_file import save_detections, save_scene
from mae3d.visualization.scenes import draw_detections, draw_reconstruction

AXES = {"ahead-left": (0, 1, 1.0), "right-ahead": (1, 0, -1.0)}
"""Name -> column that holds x ahead, column that holds y, sign that makes y point left."""
VIEWS = {"above": BirdsEye(), "perspective": Perspective()}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", nargs="?", type=Path, help=".pth or .safetensors file, ours or official")
    parser.add_argument("-o", "--out", type=Path, help="file to write (default: what it shows, in this folder)")
    parser.add_argument("--format", choices=["png", "rrd"], default="png", help="picture, or file of the Rerun viewer")
    parser.add_argument("--view", choices=sorted(VIEWS), default="above", help="of driving scenes in a picture")
    parser.add_argument("--index", type=int, default=0, help="which sample of the data set")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mask and of random weights")
    parser.add_argument("--dataset", nargs="+", action=DictAction, metavar="KEY=VALUE", help="another data set")
    parser.add_argument("--points", type=Path, help="a .npz, .npy or raw float32 file instead of a data set")
    parser.add_argument("--columns", type=int, default=4, help="values of a point in --points, x y z first")
    parser.add_argument("--axes", choices=sorted(AXES), default="ahead-left", help="directions of x and y in --points")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="single config values")
    return parser.parse_args(arguments)


def main() -> None:
    """Draw."""
    options = parse()
    try:
        cfg = load_config(options.config, options.cfg_options)
        print(f"wrote {draw(cfg, options)}")
    except Mae3dError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def draw(cfg: Config, options: argparse.Namespace) -> Path:
    """Build the model, take the sample, look at it, save."""
    model = load_model(cfg, options.checkpoint, options.seed)
    title, batch = read_file(cfg, options, model) if options.points else read_sample(cfg, options, model)
    path = options.out or Path(f"{'detections' if isinstance(model, Detector) else 'reconstruction'}.{options.format}")
    if "offsets" not in batch:
        if options.format != "png":
            raise ConfigError(f"--format {options.format} is for driving scenes; other samples are drawn as png")
        inputs = inputs_of(model, model.data_preprocessor(batch, training=False))
        result = model.reconstruct(*inputs, generator=torch.Generator().manual_seed(options.seed))
        write = save_pixel_reconstructions if isinstance(result, PixelReconstruction) else save_reconstructions
        return write(result, path, titles=[title])
    if isinstance(model, Detector):
        points, truth, found = detect(model, batch)
        if options.format == "rrd":
            return save_detections(points, truth, {title: found}, path, classes=model.classes)
        reach = model.head.point_range
        return save(draw_detections(points, truth, {title: found}, point_range=reach, view=VIEWS[options.view]), path)
    scene, boxes = reconstruct(model, batch, options.seed)
    if options.format == "rrd":
        return save_scene(scene, path, boxes=boxes)
    return save(draw_reconstruction(scene, boxes=boxes, title=title, view=VIEWS[options.view]), path)


def load_model(cfg: Config, checkpoint: Path | None, seed: int = 0) -> nn.Module:
    """Model of a config in evaluation mode, with the weights of a file or random ones.

    Raises:
        ConfigError: The model neither reconstructs nor detects.
    """
    if not DefaultScope.check_instance_created("visualize"):
        DefaultScope.get_instance("visualize", scope_name="mae3d")
    torch.manual_seed(seed)
    model = MODELS.build({**cfg.model, "init_cfg": None, "data_preprocessor": cfg.get("data_preprocessor")})
    if not hasattr(model, "reconstruct") and not isinstance(model, Detector):
        raise ConfigError(f"{type(model).__name__} neither reconstructs nor detects: there is nothing to draw")
    if checkpoint is not None:
        print(load_pretrained(model, checkpoint, fresh=() if isinstance(model, Detector) else None))
    return model.eval()


def reconstruct(model: nn.Module, batch: dict[str, Any], seed: int) -> tuple[SceneReconstruction, Tensor]:
    """What the model makes of a batch of one driving scene, and the scene's boxes."""
    batch = model.data_preprocessor(batch, training=False)
    generator = torch.Generator(device=batch["points"].device).manual_seed(seed)
    scene = model.reconstruct(*inputs_of(model, batch), generator=generator, **context_of(model, batch))
    return scene, batch["boxes"]


@torch.no_grad()
def detect(model: Detector, batch: dict[str, Any]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Points, boxes with points in them, and detections of a batch of one driving scene."""
    batch = model.data_preprocessor(batch, training=False)
    (found,) = model(batch["points"], "predict", offsets=batch["offsets"], **context_of(model, batch))
    return batch["points"], batch["boxes"][batch["box_points"] > 0], found


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def read_sample(cfg: Config, options: argparse.Namespace, model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Name and batch of one sample of a data set: for detectors of the validation data."""
    loader = cfg.val_dataloader if isinstance(model, Detector) else cfg.train_dataloader
    dataset = DATASETS.build(options.dataset or loader.dataset)
    if not 0 <= options.index < len(dataset):
        raise ConfigError(f"--index {options.index}: the data set has {len(dataset)} samples")
    loader = {**loader, "dataset": torch.utils.data.Subset(dataset, [options.index]), "batch_size": 1}
    loader |= {"num_workers": 0, "persistent_workers": False, "drop_last": False}
    loader |= {"sampler": {"type": "DefaultSampler", "shuffle": False}}
    name = Path(dataset.sample_name(options.index)).name
    return name, next(iter(Runner.build_dataloader(loader)))


def read_file(cfg: Config, options: argparse.Namespace, model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Name and batch of one file, with the columns that the config's data set gives: x y z, intensity, a lag of 0."""
    rows = check_points(read_point_file(options.points, options.columns), options.points)
    ahead, left, sign = AXES[options.axes]
    data = (cfg.val_dataloader if isinstance(model, Detector) else cfg.train_dataloader).dataset
    columns = [rows[:, ahead], sign * rows[:, left], rows[:, 2]]
    columns += [rows[:, 3]] * len(data.get("features", ("intensity",)))
    columns += [np.zeros(len(rows), dtype=np.float32)] * data.get("lag", data.get("sweeps", 1) > 1)
    sample = {
        "points": torch.from_numpy(np.stack(columns, axis=1)),
        "boxes": torch.zeros(0, 9),
        "box_labels": torch.zeros(0, dtype=torch.int64),
        "box_points": torch.zeros(0, dtype=torch.int64),
        "world_from_sensor": torch.eye(4, dtype=torch.float64),
        "index": 0,
    }
    return options.points.name, collate_packed([sample])


if __name__ == "__main__":
    main()
