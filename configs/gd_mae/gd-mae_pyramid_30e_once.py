# python tools/train.py configs/gd_mae/gd-mae_pyramid_30e_once.py
"""GD-MAE on the large unlabelled part of ONCE.

As published but for three switches, see docs/systems/t-mae.md; with them:
    --cfg-options model.outside=truncate model.target_select=arrival model.train_projections=False
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import Once
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import gd_mae_once

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=gd_mae_once)
train_dataloader.update(
    dataset=dict(type=Once, root="data/once", split="raw_large", remove_close=2.0),
    batch_size=8,
    num_workers=8,
)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=4)]
