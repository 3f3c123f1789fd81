# python tools/train.py configs/detection/gd-mae_center_80e_once.py
"""What GD-MAE fine-tunes on ONCE: 64.92 mAP published (vehicle 76.79, pedestrian 48.84, cyclist 69.14).

From the pre-trained encoder: --cfg-options
    model.init_cfg.type=mae3d.checkpoints.PretrainedEncoder model.init_cfg.checkpoint=FILE
FILE is ours or an official one.
"""

from mmengine.config import read_base

from mae3d.models.heads.detection import gd_mae_centerpoint

with read_base():
    from .._base_.datasets.once_detection import *
    from .._base_.runtime import *
    from .._base_.schedules.adam_onecycle_30e import *

model = dict(
    type=gd_mae_centerpoint,
    classes=("Car", "Bus", "Truck", "Pedestrian", "Cyclist"),
    point_range=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
    in_channels=4,
    head=dict(
        limit=(-74.88, -74.88, -5.0, 74.88, 74.88, 3.0),
        suppression=dict(threshold=0.5, before=4096, after=500),
    ),
)
train_dataloader["dataset"].update(remove_close=2.0)
val_dataloader["dataset"].update(remove_close=2.0)
test_dataloader = val_dataloader
train_cfg.update(max_epochs=80)
optim_wrapper.update(clip_grad=dict(max_norm=35.0))
