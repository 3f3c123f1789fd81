# python tools/train.py configs/t_mae/t-mae_siamwca_12e_once.py
"""T-MAE on the large unlabelled part of ONCE: 12 epochs on four GPUs with eight pairs of frames each.

As published but for three switches, see docs/systems/t-mae.md; with them:
    --cfg-options model.outside=truncate model.target_select=arrival model.train_projections=False
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import Once
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import t_mae_once

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=t_mae_once)
train_dataloader.update(
    dataset=dict(type=Once, root="data/once", split="raw_large", remove_close=2.0, previous=dict(gaps=(2,))),
    batch_size=8,
    num_workers=8,
)
train_cfg.update(max_epochs=12)
custom_hooks = [dict(type=ReconstructionHook, interval=4, samples=4)]
