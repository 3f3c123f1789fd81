"""Simulated streets for pre-training on a CPU, no files needed; pictures show two that are held out."""

from mmengine.config import read_base

from mae3d.datasets.lidar import SimulatedDrives
from mae3d.engine.hooks import ReconstructionHook

with read_base():
    from .driving_augmentation import *

train_dataloader.update(
    dataset=dict(type=SimulatedDrives, count=40, columns=360),
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
)
custom_hooks = [
    dict(
        type=ReconstructionHook,
        interval=15,
        samples=2,
        dataloader=dict(
            dataset=dict(type=SimulatedDrives, count=2, split="test", columns=360),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_packed),
            batch_size=2,
            num_workers=0,
        ),
    ),
]
