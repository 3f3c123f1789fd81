# python tools/train.py configs/gd_mae/gd-mae_pyramid_30e_waymo.py
"""GD-MAE on all training frames of Waymo.

As published but for three switches, see docs/systems/t-mae.md; with them:
    --cfg-options model.outside=truncate model.target_select=arrival model.train_projections=False
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import Waymo
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import gd_mae_waymo

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=gd_mae_waymo)
train_dataloader.update(
    dataset=dict(type=Waymo, root="data/waymo", split="train"),
    batch_size=8,
    num_workers=8,
)
custom_hooks = [dict(type=ReconstructionHook, interval=10, samples=4)]
