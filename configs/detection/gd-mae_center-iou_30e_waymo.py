# python tools/train.py configs/detection/gd-mae_center-iou_30e_waymo.py
"""GD-MAE's detector with a branch for the IoU of its boxes, on all frames of Waymo, 8 samples a GPU.

Published L2 mAPH: vehicle 70.5, pedestrian 68.8, cyclist 72.0. The published run also drops a tenth of the points of
half of the scenes.

From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
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
    head=dict(
        iou=True,
        rectify=(0.5, 0.71, 0.65),
        limit=(-75.2, -75.2, -2.0, 75.2, 75.2, 4.0),
        suppression=dict(kind="class", threshold=(0.8, 0.55, 0.55), before=(2048, 1024, 1024), after=(200, 150, 150)),
    ),
)
data_preprocessor.update(
    train_transforms=[
        dict(type=FlipScene, axes=("x",)),
        dict(type=RotateScene, low=-3.14159265, high=3.14159265, probability=0.7),
        dict(type=ScaleScene, low=0.9, high=1.1, probability=0.5),
        dict(type=RangeFilter, point_range=(-74.88, -74.88, -2.0, 74.88, 74.88, 4.0)),
        dict(type=BoxFilter, min_points=1),
        dict(type=ShufflePoints),
    ],
)
train_dataloader["dataset"].update(interval=1)
train_dataloader["dataset"]["transforms"][0].update(min_points=dict(Vehicle=5, Pedestrian=10, Cyclist=10))
train_dataloader.update(batch_size=8)
