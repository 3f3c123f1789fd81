# python tools/train.py configs/point_cmae/point-cmae_tiny_10e_simulated.py
"""A small Point-CMAE on simulated objects: about one minute of CPU time, no files needed.

A linear probe on held-out objects shows what the features learn; pictures of reconstructions go to the work directory.
"""

from mmengine.config import read_base

from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import PointCMAE

with read_base():
    from .._base_.datasets.simulated_probe import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(
    type=PointCMAE,
    num_groups=16,
    group_size=16,
    embed_dim=96,
    depth=4,
    num_heads=3,
    decoder_depth=2,
    decoder_num_heads=3,
    drop_path=0.0,
)
train_cfg.update(max_epochs=10, extra_epoch=False)
param_scheduler[0].update(warmup=2, delayed=False)

custom_hooks.append(
    dict(
        type=ReconstructionHook,
        interval=5,
        dataloader=dict(
            dataset=dict(type=SimulatedObjects, count=60, split="test", npoints=512, stored_points=1024),
            sampler=dict(type=EpochSampler, shuffle=False),
            batch_size=6,
            num_workers=0,
        ),
    )
)
