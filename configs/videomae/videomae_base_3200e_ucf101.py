# python tools/train.py configs/videomae/videomae_base_3200e_ucf101.py
"""VideoMAE pre-training on UCF101: 75 % hidden, 24 clips on each of 8 GPUs, 3200 epochs.

Videos are expected under data/ucf101, with the list data/ucf101/train.csv.
"""

from mmengine.config import read_base

from mae3d.engine.hooks import AtomicCheckpointHook, ReconstructionHook
from mae3d.models.methods import videomae_base

with read_base():
    from .._base_.datasets.kinetics400_videomae import *
    from .._base_.runtime import *
    from .._base_.schedules.mae_800e import *

model = dict(type=videomae_base, mask_ratio=0.75)
compile_targets = ["encoder", "decoder"]
train_dataloader.dataset.update(root="data/ucf101", annotation="data/ucf101/train.csv")
train_dataloader.update(batch_size=24)
train_cfg.update(max_epochs=3200)
optim_wrapper.update(optimizer=dict(lr=3e-4), paramwise_cfg=dict(no_decay=("token",)))
param_scheduler[0].update(floor=7.5e-6)  # 1e-5 for a batch of 256, published batch 192
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=2))
custom_hooks = [dict(type=ReconstructionHook, interval=50)]
