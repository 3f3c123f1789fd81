# python tools/train.py configs/detection/centerpoint_pillar_80e_once.py
"""CenterPoint on pillars of 0.32 m on ONCE: 59.07 mAP published (vehicle 74.10, pedestrian 40.94, cyclist 62.17)."""

from mmengine.config import read_base

from mae3d.models.heads.detection import centerpoint_pillar

with read_base():
    from .._base_.datasets.once_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=centerpoint_pillar,
    classes=("Car", "Bus", "Truck", "Pedestrian", "Cyclist"),
    point_range=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
    in_channels=4,
    nms_threshold=0.5,
)
train_cfg.update(max_epochs=80)
optim_wrapper.update(clip_grad=dict(max_norm=35.0))
