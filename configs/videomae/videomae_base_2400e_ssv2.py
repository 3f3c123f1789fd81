# python tools/train.py configs/videomae/videomae_base_2400e_ssv2.py
"""VideoMAE pre-training on Something-Something V2: every 2nd frame, 2400 epochs.

Videos are expected under data/ssv2, with the list data/ssv2/train.csv.
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
train_dataloader.dataset.update(
    root="data/ssv2", annotation="data/ssv2/train.csv", sampler=dict(type=DenseClip, length=16, step=2)
)
train_cfg.update(max_epochs=2400)
optim_wrapper.update(paramwise_cfg=dict(no_decay=("token",)))
param_scheduler[0].update(floor=8e-5)  # 1e-5 for a batch of 256, published batch 2048
default_hooks.update(checkpoint=dict(type=AtomicCheckpointHook, interval=20, max_keep=2))
custom_hooks = [dict(type=ReconstructionHook, interval=20)]
