# python tools/train.py configs/mae_st/mae-st_large_100e_kinetics400.py
"""MAE-ST pre-training as published (arXiv 2205.09113): ViT-L, 4 decoder blocks, 100 epochs of 4 clips a video.

The rate grows with the number of videos in a batch, not of clips; published: 2 videos on each of 64 GPUs, float32.
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import mae_st_large

with read_base():
    from .._base_.datasets.kinetics400_mae_st import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=mae_st_large)
compile_targets = ["encoder", "decoder"]
train_cfg.update(max_epochs=100)
optim_wrapper.update(optimizer=dict(lr=1.6e-3), clip_grad=dict(max_norm=0.02))
param_scheduler[0].update(warmup=5)
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=5, max_keep=2))
custom_hooks = [dict(type=ReconstructionHook, interval=5)]
