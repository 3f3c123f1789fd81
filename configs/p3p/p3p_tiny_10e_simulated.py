# python tools/train.py configs/p3p/p3p_tiny_10e_simulated.py
"""A small P3P on simulated objects without colour: about two minutes of CPU time, no files needed.

A linear probe on held-out objects shows what the features learn; pictures of reconstructions go to the work directory.
"""

from mmengine.config import read_base

from mae3d.datasets.objects import SimulatedObjects, collate_clouds
from mae3d.engine.hooks import ProbeHook, ReconstructionHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import p3p_tiny

with read_base():
    from .._base_.datasets.p3p_objects import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(type=p3p_tiny, color=False)
train_cfg.update(max_epochs=10, extra_epoch=False)
param_scheduler[0].update(warmup=2, delayed=False)
train_dataloader = dict(
    dataset=dict(type=SimulatedObjects, count=320, split="train", npoints=2048, stored_points=2048),
    sampler=dict(type=EpochSampler),
    collate_fn=dict(type=collate_clouds),
    batch_size=16,
    num_workers=2,
    drop_last=True,
    persistent_workers=True,
)
custom_hooks = [
    dict(
        type=ProbeHook,
        interval=5,
        kind="linear",
        train_dataloader=dict(
            dataset=dict(type=SimulatedObjects, count=320, split="train", npoints=2048, stored_points=2048),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_clouds),
            batch_size=64,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(type=SimulatedObjects, count=160, split="test", npoints=2048, stored_points=2048),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_clouds),
            batch_size=64,
            num_workers=0,
        ),
    ),
    dict(
        type=ReconstructionHook,
        interval=5,
        up="z",
        dataloader=dict(
            dataset=dict(type=SimulatedObjects, count=160, split="test", npoints=2048, stored_points=2048),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_clouds),
            batch_size=6,
            num_workers=0,
        ),
    ),
]
