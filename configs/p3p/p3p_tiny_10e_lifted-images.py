# python tools/train.py configs/p3p/p3p_tiny_10e_lifted-images.py
"""A small P3P on coloured clouds lifted from a folder of images in classes, made ready by

    python tools/prepare_data.py p3p --images data/images/train --depth depth-anything
    python tools/prepare_data.py p3p --images data/images/validation --depth depth-anything

(without a depth network: --depth brightness). The probe's classes are the folders. On 1100 images of 96 pixels an epoch
takes about half a minute of CPU time.
"""

from mmengine.config import read_base

from mae3d.datasets.objects import LiftedImages, collate_clouds
from mae3d.engine.hooks import ProbeHook, ReconstructionHook
from mae3d.engine.sampling import EpochSampler
from mae3d.models.methods import p3p_tiny

with read_base():
    from .._base_.datasets.p3p_clouds import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(type=p3p_tiny)
train_cfg.update(max_epochs=10, extra_epoch=False)
param_scheduler[0].update(warmup=2, delayed=False)
train_dataloader = dict(
    dataset=dict(type=LiftedImages, images="data/images/train", npoints=8192, classes="folders"),
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
            dataset=dict(type=LiftedImages, images="data/images/train", npoints=8192, classes="folders"),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_clouds),
            batch_size=64,
            num_workers=0,
        ),
        test_dataloader=dict(
            dataset=dict(type=LiftedImages, images="data/images/validation", npoints=8192, classes="folders"),
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
            dataset=dict(type=LiftedImages, images="data/images/validation", npoints=8192, classes="folders"),
            sampler=dict(type=EpochSampler, shuffle=False),
            collate_fn=dict(type=collate_clouds),
            batch_size=6,
            num_workers=0,
        ),
    ),
]
