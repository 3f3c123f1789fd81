# python tools/train.py configs/t_mae/t-mae_siamwca_12e_waymo.py
"""T-MAE on Waymo, previous frames three to five sweeps before. The published config was not released.

Data, gaps and range are those of its loader and of GD-MAE, the length that of ONCE. The loader draws one of two
neighbours as the current frame, so one of its epochs is half of one here.
"""

from mmengine.config import read_base

from mae3d.datasets.lidar import Waymo
from mae3d.engine.hooks import ReconstructionHook
from mae3d.models.methods import t_mae_waymo

with read_base():
    from .._base_.datasets.driving_augmentation import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(type=t_mae_waymo)
train_dataloader.update(
    dataset=dict(type=Waymo, root="data/waymo", split="train", previous=dict(gaps=(3, 4, 4, 5))),
    batch_size=8,
    num_workers=8,
)
train_cfg.update(max_epochs=12)
custom_hooks = [dict(type=ReconstructionHook, interval=4, samples=4)]
