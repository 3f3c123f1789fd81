# python tools/train.py configs/data2vec2/data2vec2_image-tiny_20e_clothing.py
"""A small data2vec 2.0 on photographs of clothes, for a CPU: 340 iterations, 4 masks an image.

A linear probe judges the features on held-out photographs. Watch target_deviation: it falls towards 0 in a collapse.
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import data2vec2_image_tiny

with read_base():
    from .._base_.datasets.clothing_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=data2vec2_image_tiny)
train_cfg.update(max_epochs=20)
optim_wrapper.optimizer.update(lr=4e-3)
optim_wrapper.update(clip_grad=dict(max_norm=4.0))
param_scheduler[0].update(warmup=3)
custom_hooks = [{**custom_hooks[0], "kind": "linear"}]
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=1))
