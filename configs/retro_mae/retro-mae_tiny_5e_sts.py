# python tools/train.py configs/retro_mae/retro-mae_tiny_5e_sts.py
"""A small RetroMAE from scratch on the sentences of the STS benchmark, for a CPU: 820 iterations."""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import retro_mae_tiny

with read_base():
    from .._base_.datasets.sts_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(type=retro_mae_tiny)
train_cfg.update(max_epochs=5)
optim_wrapper.optimizer.update(lr=1e-3)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=5, max_keep=1))
