# python tools/train.py configs/detection/gd-mae_center_30e_waymo.py
"""What GD-MAE fine-tunes on Waymo, one stage; 20 % of the frames, 8 samples a GPU.

Published L2 mAPH with 20 % of the labels: vehicle 67.2, pedestrian 65.5, cyclist 68.7.

From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
FILE is ours or an official one.
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import gd_mae_centerpoint

with read_base():
    from .._base_.datasets.waymo_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=gd_mae_centerpoint,
    classes=("Vehicle", "Pedestrian", "Cyclist"),
    point_range=(-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
    in_channels=5,
    head=dict(limit=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)),
)
train_dataloader.update(batch_size=8)
