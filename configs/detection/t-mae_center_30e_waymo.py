# python tools/train.py configs/detection/t-mae_center_30e_waymo.py
"""T-MAE's detector on Waymo, on two frames. The published config was not released: schedule and data are GD-MAE's.

Previous frames are three to five sweeps before in training and one in evaluation, as its loader has them.

From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
FILE is ours or an official one.
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import t_mae_centerpoint

with read_base():
    from .._base_.datasets.waymo_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=t_mae_centerpoint,
    classes=("Vehicle", "Pedestrian", "Cyclist"),
    point_range=(-74.88, -74.88, -2.0, 74.88, 74.88, 4.0),
    in_channels=5,
    head=dict(limit=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0)),
)
train_dataloader["dataset"].update(previous=dict(gaps=(3, 4, 4, 5)))
train_dataloader.update(batch_size=8)
val_dataloader["dataset"].update(previous=dict(gaps=(1,)))
test_dataloader = val_dataloader
