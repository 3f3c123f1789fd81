# python tools/train.py configs/mae/mae_large_800e_imagenet.py
"""MAE pre-training as published (arXiv 2111.06377): ViT-L/16, normalised pixels.

The released weights were trained for 1600 epochs: --cfg-options train_cfg.max_epochs=1600
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import mae_large

with read_base():
    from .._base_.datasets.imagenet_pretrain import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=mae_large)
compile_targets = ["encoder", "decoder"]
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=2))
custom_hooks = [dict(type=ReconstructionHook, interval=20)]
