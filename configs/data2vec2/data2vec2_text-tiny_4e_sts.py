# python tools/train.py configs/data2vec2/data2vec2_text-tiny_4e_sts.py
"""A small data2vec 2.0 on the sentences of the STS benchmark, for a CPU: some 300 iterations, 4 masks a block."""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook
from mae3d.models.methods import data2vec2_text_tiny

with read_base():
    from .._base_.datasets.sts_blocks import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=data2vec2_text_tiny, vocab_size=4000)
train_cfg.update(max_epochs=4)
optim_wrapper.optimizer.update(lr=8e-3)
optim_wrapper.update(clip_grad=dict(max_norm=4.0))
param_scheduler[0].update(warmup=1)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=4, max_keep=1))
