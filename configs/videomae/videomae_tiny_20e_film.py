# python tools/train.py configs/videomae/videomae_tiny_20e_film.py
"""A small VideoMAE on clips of one film, for a CPU; pictures of reconstructions go to the work directory."""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import videomae_tiny

with read_base():
    from .._base_.datasets.film import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=videomae_tiny)
train_cfg.update(max_epochs=20)
optim_wrapper.update(optimizer=dict(lr=2e-2), paramwise_cfg=dict(no_decay=("token",)))
param_scheduler[0].update(warmup=2)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=1))
