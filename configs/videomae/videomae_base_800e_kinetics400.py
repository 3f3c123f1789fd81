# python tools/train.py configs/videomae/videomae_base_800e_kinetics400.py
"""VideoMAE pre-training as published (arXiv 2203.12602): ViT-B, 32 clips on each of 64 GPUs.

The released weights were trained for 1600 epochs: --cfg-options train_cfg.max_epochs=1600
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import videomae_base

with read_base():
    from .._base_.datasets.kinetics400_videomae import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=videomae_base)
compile_targets = ["encoder", "decoder"]
optim_wrapper.update(paramwise_cfg=dict(no_decay=("token",)))
param_scheduler[0].update(floor=8e-5)  # 1e-5 for a batch of 256, published batch 2048
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=2))
custom_hooks = [dict(type=ReconstructionHook, interval=20)]
