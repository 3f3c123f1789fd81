# python tools/train.py configs/dup_mae/dup-mae_tiny_5e_sts.py
"""A small DupMAE from scratch on the sentences of the STS benchmark, for a CPU: 820 iterations."""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import dup_mae_tiny

with read_base():
    from .._base_.datasets.sts_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.bert_8e import *

model = dict(type=dup_mae_tiny)
train_cfg.update(max_epochs=5)
optim_wrapper.optimizer.update(lr=1e-3)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=5, max_keep=1))
