# python tools/train.py configs/gd_mae/gd-mae_tiny_30e_simulated.py
"""A small GD-MAE on simulated streets: some minutes of CPU time, no files needed."""

from mmengine.config import read_base

from mae3d.datasets.lidar import SimulatedDrives
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import gd_mae_tiny

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=gd_mae_tiny, point_range=(-25.6, -25.6, -5.0, 25.6, 25.6, 3.0), pillar=0.8)
train_dataloader.update(
    dataset=dict(type=SimulatedDrives, count=40, columns=360),
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
)
train_cfg.update(max_epochs=30)
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
