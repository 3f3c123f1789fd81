# python tools/train.py configs/p3p/p3p_small_120e_p3p-lift.py
"""P3P small pre-trained on P3P-Lift: 89.6 % on ScanObjectNN PB_T50_RS published after fine-tuning.

Published batch: 256 over four GPUs (64 each) and gradients of four steps in one, which AdamW sees at the same scale:
--launcher pytorch on four GPUs and --cfg-options optim_wrapper.accumulative_counts=4
The official padding and losses: --cfg-options model.padding=published model.objective=published
"""

from mmengine.config import read_base

from mae3d.models.methods import p3p_small

with read_base():
    from .._base_.datasets.p3p_lift import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(type=p3p_small)
optim_wrapper.update(optimizer=dict(lr=5e-4))
train_cfg.update(max_epochs=120)
