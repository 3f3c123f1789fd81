# python tools/train.py configs/detection/sst_center_80e_once.py
"""SST with four convolutions and CenterPoint's head on ONCE, the one-stage detector of GD-MAE and T-MAE."""

from mmengine.config import read_base

from mae3d.models.heads.detection import sst_centerpoint

with read_base():
    from .._base_.datasets.once_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=sst_centerpoint,
    classes=("Car", "Bus", "Truck", "Pedestrian", "Cyclist"),
    point_range=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
    in_channels=4,
    head=dict(suppression=dict(threshold=0.5, before=4096, after=500)),
)
train_cfg.update(max_epochs=80)
optim_wrapper.update(clip_grad=dict(max_norm=35.0))
