"""Draw what a pre-training model makes of one sample: input, what it saw, reconstruction.

    python tools/visualize.py configs/voxel_mae/voxel-mae_sst_200e_nuscenes-2sweeps.py RUN/epoch_200.pth -o frame.png
    python tools/visualize.py CONFIG CHECKPOINT --index 12 --seed 3
    python tools/visualize.py CONFIG CHECKPOINT --dataset type=SequenceFolder root=DRIVE sweeps=2
    python tools/visualize.py CONFIG CHECKPOINT --points FRAME.pcd.bin --columns 5 --axes right-ahead

The sample comes from the config's training data, without augmentation; --dataset takes another data set in its place,
--points one raw file. Without a checkpoint the model has random weights.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn

from mae3d.checkpoints import load_pretrained
from mae3d.datasets.lidar import collate_packed
from mae3d.datasets.lidar.point_files import check_points, read_bin
from mae3d.engine.config import load_config
from mae3d.errors import ConfigError, Mae3dError
from mae3d.registry import DATASETS, MODELS
from mae3d.visualization.bev import save_reconstruction
from mae3d.visualization.points import save_reconstructions

AXES = {"ahead-left": (0, 1, 1.0), "right-ahead": (1, 0, -1.0)}
"""Name -> column that holds x ahead, column that holds y, sign that makes y point left."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", nargs="?", type=Path, help=".pth or .safetensors file, ours or official")
    parser.add_argument("-o", "--out", type=Path, default=Path("reconstruction.png"), help="PNG file to write")
    parser.add_argument("--index", type=int, default=0, help="which sample of the data set")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mask and of random weights")
    parser.add_argument("--dataset", nargs="+", action=DictAction, metavar="KEY=VALUE", help="another data set")
    parser.add_argument("--points", type=Path, help="raw float32 file instead of a data set")
    parser.add_argument("--columns", type=int, default=4, help="values of a point in --points, x y z first")
    parser.add_argument("--axes", choices=sorted(AXES), default="ahead-left", help="directions of x and y in --points")
    parser.add_argument("--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE", help="single config values")
    return parser.parse_args(arguments)


def main() -> None:
    """Draw."""
    options = parse()
    try:
        cfg = load_config(options.config, options.cfg_options)
        DefaultScope.get_instance("visualize", scope_name="mae3d")
        print(f"wrote {draw(cfg, options)}")
    except Mae3dError as error:
        sys.exit(f"{type(error).__name__}: {error}")


def draw(cfg: Config, options: argparse.Namespace) -> Path:
    """Build the model, take the sample, reconstruct, save."""
    torch.manual_seed(options.seed)
    model = MODELS.build({**cfg.model, "data_preprocessor": cfg.get("data_preprocessor")})
    if not hasattr(model, "reconstruct"):
        raise ConfigError(f"{type(model).__name__} has no reconstruct(): only pre-training models can be drawn")
    if options.checkpoint is not None:
        print(load_pretrained(model, options.checkpoint))
    title, batch = read_file(options, model) if options.points else read_sample(cfg, options)
    batch = model.data_preprocessor(batch, training=False)
    generator = torch.Generator(device=batch["points"].device).manual_seed(options.seed)
    if "offsets" not in batch:
        result = model.reconstruct(batch["points"], generator=generator)
        return save_reconstructions(result, options.out, titles=[title])
    scene = model.reconstruct(batch["points"], batch["offsets"], generator=generator)
    return save_reconstruction(scene, options.out, boxes=batch.get("boxes"), title=title)


def read_sample(cfg: Config, options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Name and batch of one sample of a data set."""
    loader = cfg.train_dataloader
    config = options.dataset or loader.dataset
    dataset = DATASETS.build(config)
    if not 0 <= options.index < len(dataset):
        raise ConfigError(f"--index {options.index}: the data set has {len(dataset)} samples")
    loader = {**loader, "dataset": torch.utils.data.Subset(dataset, [options.index]), "batch_size": 1}
    loader |= {"num_workers": 0, "persistent_workers": False, "drop_last": False, "sampler": _in_order()}
    name = Path(dataset.sample_name(options.index)).name
    return name, next(iter(Runner.build_dataloader(loader)))


def _in_order() -> dict[str, Any]:
    return {"type": "DefaultSampler", "shuffle": False}


def read_file(options: argparse.Namespace, model: nn.Module) -> tuple[str, dict[str, Any]]:
    """Name and batch of one raw file: x y z and, for models that take it, intensity (column 3) and a lag of 0."""
    rows = check_points(read_bin(options.points, options.columns), options.points)
    ahead, left, sign = AXES[options.axes]
    wanted = model.tokenizer.encoder.in_channels
    points = np.zeros((len(rows), wanted), dtype=np.float32)
    points[:, 0], points[:, 1], points[:, 2] = rows[:, ahead], sign * rows[:, left], rows[:, 2]
    if wanted > 4:
        points[:, 3] = rows[:, 3]
    sample = {
        "points": torch.from_numpy(points),
        "boxes": torch.zeros(0, 9),
        "box_labels": torch.zeros(0, dtype=torch.int64),
        "box_points": torch.zeros(0, dtype=torch.int64),
        "world_from_sensor": torch.eye(4, dtype=torch.float64),
        "index": 0,
    }
    return options.points.name, collate_packed([sample])


if __name__ == "__main__":
    main()
