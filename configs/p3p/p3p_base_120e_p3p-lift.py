# python tools/train.py configs/p3p/p3p_base_120e_p3p-lift.py
"""P3P base pre-trained on P3P-Lift: 91.3 % on ScanObjectNN PB_T50_RS published after fine-tuning.

See the small config for batch size and the official padding and losses.
"""

from mmengine.config import read_base

from mae3d.models.methods import p3p_base

with read_base():
    from .._base_.datasets.p3p_lift import *
    from .._base_.runtime import *
    from .._base_.schedules.adamw_300e import *

model = dict(type=p3p_base)
optim_wrapper.update(optimizer=dict(lr=5e-4))
train_cfg.update(max_epochs=120)
