"""Simulated drives in nuScenes' layout for pre-training on a CPU: single sweeps, scenes mirrored along x alone."""

from mmengine.config import read_base

from mae3d.datasets.lidar import NuScenes

with read_base():
    from .driving_augmentation import *

data_preprocessor.update(
    train_transforms=[
        dict(type=FlipScene, axes=("x",)),
        dict(type=RotateScene, low=-0.3925, high=0.3925),
        dict(type=ScaleScene, low=0.95, high=1.05),
    ],
)
train_dataloader.update(
    dataset=dict(type=NuScenes, root="data/simulated/nuscenes", split="train", remove_close=2.0),
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
)
