# python tools/train.py configs/mae_st/mae-st_tiny_20e_film.py
"""A small MAE-ST on clips of one film, for a CPU; pictures of reconstructions go to the work directory."""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import mae_st_tiny

with read_base():
    from .._base_.datasets.film import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=mae_st_tiny)
data_preprocessor.update(
    train_transforms=[dict(type=NormalizePixels, mean=0.45, std=0.225)],
    test_transforms=[dict(type=NormalizePixels, mean=0.45, std=0.225)],
)
train_cfg.update(max_epochs=20)
optim_wrapper.optimizer.update(lr=2e-2)
param_scheduler[0].update(warmup=2)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=1))
