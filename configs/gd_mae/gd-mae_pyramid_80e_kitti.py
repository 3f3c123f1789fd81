# python tools/train.py configs/gd_mae/gd-mae_pyramid_80e_kitti.py
"""GD-MAE on KITTI, the part of the turn that the camera sees.

As published but for three switches, see docs/systems/t-mae.md; with them:
    --cfg-options model.outside=truncate model.target_select=arrival model.train_projections=False
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import Kitti
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import gd_mae_kitti

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=gd_mae_kitti)
data_preprocessor.update(
    train_transforms=[
        dict(type=FlipScene, axes=("y",)),
        dict(type=RotateScene),
        dict(type=ScaleScene, low=0.95, high=1.05),
    ],
)
train_dataloader.update(
    dataset=dict(type=Kitti, root="data/kitti", split="train"),
    batch_size=16,
    num_workers=8,
)
train_cfg.update(max_epochs=80)
custom_hooks = [dict(type=ReconstructionHook, interval=20, samples=4)]
