# python tools/train.py configs/mae/mae_tiny_10e_clothing.py
"""A small MAE on photographs of clothes, for a CPU: 170 iterations.

Pictures of reconstructions go to the work directory. A kNN probe judges the features on held-out photographs: so
short a pre-training fills patches with the right colours but does not yet help to tell clothes apart.
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import mae_tiny

with read_base():
    from .._base_.datasets.clothing_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=mae_tiny, pooling="mean")
train_cfg.update(max_epochs=10)
optim_wrapper.optimizer.update(lr=4e-3)
param_scheduler[0].update(warmup=2)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=10, max_keep=1))
